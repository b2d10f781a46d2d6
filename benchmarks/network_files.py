"""A Keras network as a file that a program without Keras can rebuild and run.

`write` is called with Keras, `torch_network` with PyTorch: both frameworks then run the
same layers with the same weights, which the benchmarks check before they time anything.
"""

import json
from pathlib import Path

import numpy as np

SETTINGS = (
    *("strides", "padding", "dilation_rate", "activation", "negative_slope"),
    *("pool_size", "scale", "offset", "epsilon", "rate", "axis"),
)


def write(network, folder: Path) -> None:
    """Writes the layers of a functional network to network.json and weights.npz."""
    layers, weights = [], {}
    for entry in network.get_config()["layers"]:
        layer = network.get_layer(entry["name"])
        settings = {k: v for k, v in entry["config"].items() if k in SETTINGS}
        layers.append(
            {
                "name": entry["name"],
                "kind": entry["class_name"],
                "inputs": list(_origins(entry["inbound_nodes"])),
                **settings,
            }
        )
        for weight in layer.weights:
            weights[f"{entry['name']}/{weight.name}"] = np.asarray(weight)
    document = {"layers": layers, "dimensions": len(network.inputs[0].shape) - 2}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "network.json").write_text(json.dumps(document))
    np.savez(folder / "weights.npz", **weights)


def _origins(value):
    """Yields the names of the layers whose outputs a node takes, in order."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            yield value["config"]["keras_history"][0]
            return
        value = list(value.values())
    if isinstance(value, list | tuple):
        for each in value:
            yield from _origins(each)


def torch_network(folder: Path):
    """Returns the network as a `torch.nn.Module`, channels first."""
    import torch

    document = json.loads((folder / "network.json").read_text())
    layers, dimensions = document["layers"], document["dimensions"]
    with np.load(folder / "weights.npz") as file:
        weights = {name: torch.from_numpy(file[name]) for name in file.files}

    class Network(torch.nn.Module):
        """The layers, one after the other."""

        def __init__(self):
            super().__init__()
            self.parts = torch.nn.ModuleDict()
            for layer in layers:
                own = {
                    name.rsplit("/", 1)[1]: value
                    for name, value in weights.items()
                    if name.rsplit("/", 1)[0] == layer["name"]
                }
                part = _part(torch, layer, own, dimensions)
                if part is not None:
                    self.parts[layer["name"]] = part

        def forward(self, image):
            outputs = {layers[0]["name"]: image}
            for layer in layers[1:]:
                inputs = [outputs[name] for name in layer["inputs"]]
                outputs[layer["name"]] = self.parts[layer["name"]](*inputs)
            return outputs[layers[-1]["name"]]

    return Network()


def _part(torch, layer: dict, weights: dict, dimensions: int):
    """The module of one layer."""
    nn, kind = torch.nn, layer["kind"]
    simple = {
        "InputLayer": lambda: None,
        "ReLU": nn.ReLU,
        "Identity": nn.Identity,
        "LeakyReLU": lambda: nn.LeakyReLU(layer["negative_slope"]),
        "Dropout": lambda: nn.Dropout(layer["rate"]),
        "Activation": lambda: _activation(nn, layer["activation"]),
        "Add": lambda: _function(nn, lambda *images: sum(images[1:], images[0])),
        "Concatenate": lambda: _function(nn, lambda *images: torch.cat(images, 1)),
        "Rescaling": lambda: _function(
            nn, lambda image: image * layer["scale"] + layer["offset"]
        ),
    }
    if kind in simple:
        return simple[kind]()
    if kind.startswith("MaxPooling"):
        pool = getattr(nn, f"MaxPool{dimensions}d")
        return pool(tuple(layer["pool_size"]), tuple(layer["strides"]))
    if kind == "BatchNormalization":
        return _batch_normalization(torch, layer, weights, dimensions)
    if kind.startswith("Conv"):
        return _convolution(torch, layer, weights, dimensions)
    raise ValueError(f"no PyTorch layer for {kind}")


def _function(nn, function):
    class Function(nn.Module):
        def forward(self, *images):
            return function(*images)

    return Function()


def _activation(nn, name: str):
    kinds = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU}
    return nn.Identity() if name == "linear" else kinds[name]()


def _batch_normalization(torch, layer, weights, dimensions):
    kind = getattr(torch.nn, f"BatchNorm{dimensions}d")
    part = kind(len(weights["gamma"]), eps=layer["epsilon"])
    with torch.no_grad():
        part.weight.copy_(weights["gamma"])
        part.bias.copy_(weights["beta"])
        part.running_mean.copy_(weights["moving_mean"])
        part.running_var.copy_(weights["moving_variance"])
    return part


def _convolution(torch, layer, weights, dimensions):
    nn, functional = torch.nn, torch.nn.functional
    transposed = "Transpose" in layer["kind"]
    # (spatial..., in, out) becomes (out, in, spatial...); transposed the other way.
    kernel = weights["kernel"].permute(-1, -2, *range(dimensions)).contiguous()
    stride, dilation = tuple(layer["strides"]), tuple(layer["dilation_rate"])
    size, same = kernel.shape[2:], layer["padding"] == "same"
    if transposed:
        excess = [k - s for k, s in zip(size, stride, strict=True)] if same else []
    else:
        excess = [(k - 1) * d for k, d in zip(size, dilation, strict=True)]
        excess = excess if same else []
    even = set(stride) == {1} or transposed
    symmetric = even and all(total >= 0 and total % 2 == 0 for total in excess)
    padding = [total // 2 for total in excess] if symmetric and excess else 0
    name = f"Conv{'Transpose' if transposed else ''}{dimensions}d"
    ends = kernel.shape[:2] if transposed else kernel.shape[1::-1]
    convolution = getattr(nn, name)(
        *ends,
        size,
        stride=stride,
        dilation=dilation,
        padding=tuple(padding) if padding else 0,
        bias="bias" in weights,
    )
    with torch.no_grad():
        convolution.weight.copy_(kernel)
        if "bias" in weights:
            convolution.bias.copy_(weights["bias"])
    activation = _activation(nn, layer["activation"])

    def pads(image):
        """Before and after each axis, the last axis first."""
        both = []
        for n, k, s, d in zip(image.shape[2:], size, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + (k - 1) * d + 1 - n, 0)
            both.append((total // 2, total - total // 2))
        return [value for pair in reversed(both) for value in pair]

    def cropped(image):
        for axis, total in enumerate(excess, 2):
            length = image.shape[axis] - total
            image = image.narrow(axis, total // 2, length)
        return image

    class Convolution(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.activation = convolution, activation

        def forward(self, image):
            if same and not symmetric and not transposed:
                image = functional.pad(image, pads(image))
            image = self.convolution(image)
            if same and not symmetric and transposed:
                image = cropped(image)
            return self.activation(image)

    return Convolution()
