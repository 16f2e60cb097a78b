"""Where trainers look for images and for the classes of their pixels."""

from collections.abc import Mapping
from typing import Literal

import msgspec

type Values = Literal["ids", "train_ids", "colours"]
"""What the pixels of a PNG are: classes from 1 with 0 for the background; classes from 0 with 255 for the background,
which trainers ignore; or colours, for people."""


class Layout(msgspec.Struct, frozen=True):
    """Paths below the format's folder, with ``{split}``, ``{stem}`` and ``{suffix}``.

    ``planes`` are the paths of the PNGs, each with what its pixels are. ``splits`` are the names of folders of the
    splits for training, validating and testing.
    """

    image: str
    planes: Mapping[str, Values]
    splits: Mapping[str, str] = {}


_ULTRALYTICS = "images/{split}/{stem}.{suffix}", "masks/{split}/{stem}.png"

LAYOUTS: Mapping[tuple[str, str], Layout] = {
    # docs.ultralytics.com/datasets/semantic: masks mirror images, 255 is ignored
    ("ultralytics", "class"): Layout(_ULTRALYTICS[0], {_ULTRALYTICS[1]: "ids"}),
    ("ultralytics", "ignore"): Layout(_ULTRALYTICS[0], {_ULTRALYTICS[1]: "train_ids"}),
    # torchvision.datasets.Cityscapes and MMSegmentation's CityscapesDataset; a city is needed, so there is one
    ("cityscapes", "class"): Layout(
        "leftImg8bit/{split}/export/{stem}_leftImg8bit.{suffix}",
        {
            "gtFine/{split}/export/{stem}_gtFine_labelIds.png": "ids",
            "gtFine/{split}/export/{stem}_gtFine_labelTrainIds.png": "train_ids",
            "gtFine/{split}/export/{stem}_gtFine_color.png": "colours",
        },
        {"train": "train", "val": "val", "test": "test"},
    ),
    # SceneParsing (ADE20K, MIT): 0 is what is not labelled, which MMSegmentation drops with reduce_zero_label
    ("ade20k", "class"): Layout(
        "images/{split}/{stem}.{suffix}",
        {"annotations/{split}/{stem}.png": "ids"},
        {"train": "training", "val": "validation", "test": "testing"},
    ),
}
"""By the options ``layout`` and ``background``."""
