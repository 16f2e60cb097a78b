"""COCO and VOC as torchvision trains on them, transformed: ``check_transforms.py <export> <keys> [<VOC set> ...]``.

Every image is flipped, cropped around its objects and resized by ``transforms.v2``. ``keys`` are what is wanted of
COCO, separated by commas. Prints, for each data set, how many images and objects came out and which images cannot be
opened.
"""

import json
import sys
from pathlib import Path

import torch
from torchvision_without_cuda import datasets, tv_tensors, v2

torch.manual_seed(0)
export, keys, *sets = sys.argv[1:]
export = Path(export)
move = v2.Compose(
    [
        v2.ToImage(),
        v2.RandomHorizontalFlip(p=0.5),
        v2.RandomIoUCrop(trials=5),
        v2.RandomZoomOut(side_range=(1.0, 2.0)),
        v2.Resize((96, 96)),
        v2.SanitizeBoundingBoxes(
            labels_getter=lambda sample: [sample[1][k] for k in ("labels", "masks") if k in sample[1]]
        ),
        v2.ToDtype(torch.float32, scale=True),
    ]
)
move_plane = v2.Compose([v2.ToImage(), v2.RandomHorizontalFlip(p=0.5), v2.RandomCrop(64, pad_if_needed=True)])


def boxes_on(image, corners):
    """Boxes as torchvision moves them; an image may have none."""
    corners = torch.tensor(corners, dtype=torch.float32).reshape(-1, 4)
    return tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=(image.height, image.width))


def of_coco(image, target):
    """What the wrapper leaves out where an image has no objects is added."""
    return target if "boxes" in target else {"boxes": boxes_on(image, []), "labels": torch.empty(0)}


def of_voc(image, target):
    """The boxes of a document; torchvision's own wrapper knows the classes of VOC 2012 only."""
    found = [one["bndbox"] for one in target["annotation"].get("object", [])]
    corners = [[int(box["xmin"]) - 1, int(box["ymin"]) - 1, int(box["xmax"]), int(box["ymax"])] for box in found]
    return {"boxes": boxes_on(image, corners), "labels": torch.zeros(len(corners))}


def moved(dataset, names, describe):
    """What comes out of one data set."""
    objects, unreadable = 0, []
    for index, name in enumerate(names):
        try:
            image, target = dataset[index]
        except OSError:
            unreadable.append(name)
            continue
        image, target = move(image, describe(image, target))
        assert image.shape[1:] == (96, 96)
        assert len(target["boxes"]) == len(target["labels"])
        assert torch.isfinite(target["boxes"]).all()
        if "masks" in target:
            assert target["masks"].shape == (len(target["boxes"]), 96, 96)
        objects += len(target["boxes"])
    return {"images": len(names), "objects": objects, "unreadable": unreadable}


results = {}
for file in sorted((export / "annotations").glob("*.json")):
    # Objects made of points have no outline.
    wanted = [key for key in keys.split(",") if key != "masks" or file.stem.startswith("instances")]
    found = datasets.CocoDetection(export / "images" / file.stem.rpartition("_")[2], file)
    names = [Path(image["file_name"]).stem for image in found.coco.loadImgs(found.ids)]
    found = datasets.wrap_dataset_for_transforms_v2(found, target_keys=wanted)
    results[file.stem] = moved(found, names, of_coco)
for name in sets:
    found = datasets.VOCDetection(export, year="2012", image_set=name)
    results[f"VOCDetection {name}"] = moved(found, [Path(path).stem for path in found.images], of_voc)
    planes = datasets.wrap_dataset_for_transforms_v2(datasets.VOCSegmentation(export, year="2012", image_set=name))
    results[f"VOCSegmentation {name}"] = {"images": 0, "planes": len(planes)}
    for index in range(len(planes)):
        try:
            image, plane = planes[index]
        except OSError:
            continue
        image, plane = move_plane(image, plane)
        assert image.shape[1:] == plane.shape[-2:] == (64, 64)
        results[f"VOCSegmentation {name}"]["images"] += 1
json.dump(results, sys.stdout)
