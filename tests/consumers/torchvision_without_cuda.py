"""``torchvision``'s data sets, boxes and transforms beside a torch without CUDA.

torchvision's only builds for Linux hold operators that need CUDA's libraries. Without those the package cannot be
imported: it registers something for two operators that are then unknown. Declaring the two is enough for reading data.
"""

import importlib

import torch

_LIBRARY = torch.library.Library("torchvision", "DEF")  # what it defines is forgotten with it
for _operator in ("nms", "qnms"):
    _LIBRARY.define(f"{_operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

datasets = importlib.import_module("torchvision.datasets")
tv_tensors = importlib.import_module("torchvision.tv_tensors")
v2 = importlib.import_module("torchvision.transforms.v2")
