"""Graphs of one product each -> one graph of several: what is the same is computed once, and each keeps its own head.

    image -> square -> backbone -> levels -> embedding          shared: no product's statistics are in it
    embedding -> a distance for each product                    the gates
    product (or the nearest one) -> rows of each product
    rows of the levels -> If(any): score, map                   a head for each product, its own graph's very nodes

A head works on its product's pictures alone, and only where there are any. To add a product is to append a gate and a
head: no node, and no number, of another product changes. This needs onnx, not torch.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from defectflow.bundle.tensors import ANY_PRODUCT, FEATURES, PRODUCT, PRODUCT_INDEX, SQUARE
from defectflow.bundle.verdict_nodes import detach_verdict, picture_axis
from defectflow.errors import BundleError

OF_HEAD = ("score", "anomaly_map", "top_floor")
_OWN = re.compile(r"product(\d+)_")
_LIMITS = "products_limits"
_COUNTS = {"Add", "Cast", "Concat", "Gather", "Mul", "Reshape", "Squeeze", "Unsqueeze"}
"""What may be done with the number of pictures before it shapes a tensor."""


@dataclass(frozen=True, slots=True)
class _Single:
    """One product's scoring graph, taken apart."""

    shared: list[NodeProto]
    gate: list[NodeProto]
    head: list[NodeProto]
    values: dict[str, TensorProto]
    """Its initializers."""


def join(joint: ModelProto | None, single: ModelProto, distance_limit: float) -> ModelProto:
    """A scoring graph of several products with one product more, which gets the next number.

    `joint`: None for the first product. `distance_limit`: the gate's of the new product.
    Raises BundleError where the new graph sees pictures in another way than the others.
    """
    apart = _take_apart(single)
    if joint is None:
        shared, same = apart.shared, {name: name for node in apart.shared for name in node.output}
        values = {name: apart.values[name] for name in _read(shared) if name in apart.values}
        gates: list[NodeProto] = []
        heads: list[NodeProto] = []
        own: list[TensorProto] = []
        limits: list[float] = []
        model = detach_verdict(single)
    else:
        model = detach_verdict(joint)
        shared, gates, heads, own, limits = _known(model)
        values = {value.name: value for value in model.graph.initializer if not value.name.startswith("product")}
        same = _matched(shared, values, apart)
    number = len(heads)
    gate, of_gate = _renamed(apart.gate, apart.values, f"product{number}_gate_", same)
    seams = [value for value in model.graph.value_info if value.name == SQUARE or value.name.startswith(FEATURES)]
    outputs = {output.name: output for output in model.graph.output}
    image = next(given for given in model.graph.input if given.name == "image")
    graph = GraphProto(name="products")
    graph.input.append(image)
    graph.input.append(helper.make_tensor_value_info(PRODUCT, TensorProto.INT64, ["products"]))
    graph.initializer.append(numpy_helper.from_array(np.array([ANY_PRODUCT], np.int64), PRODUCT))
    graph.initializer.extend([*values.values(), *own, *of_gate])
    heads = [*heads, _head(apart, number, same, outputs["anomaly_map"])]
    _choose(graph, [*shared, *gates, *gate], heads, [*limits, distance_limit])
    graph.value_info.extend(seams)
    batch = outputs["score"].type.tensor_type.shape.dim[0].dim_param
    graph.output.extend(outputs[name] for name in ("score", "anomaly_map", "embedding", "distance", "top_floor"))
    graph.output.append(helper.make_tensor_value_info(PRODUCT_INDEX, TensorProto.INT64, [batch]))
    made = ModelProto()
    made.CopyFrom(model)
    made.graph.CopyFrom(graph)
    onnx.checker.check_model(made)
    return made


def head_of(graph: GraphProto, number: int) -> GraphProto:
    """The part of a graph of several products that is one product's own."""
    heads = [node for node in graph.node if node.op_type == "If"]
    head = GraphProto()
    head.CopyFrom(next(each.g for each in heads[number].attribute if each.name == "then_branch"))
    return head


def _take_apart(single: ModelProto) -> _Single:
    graph = detach_verdict(single).graph
    maker = {name: node for node in graph.node for name in node.output}

    def behind(wanted: Iterable[str]) -> set[int]:
        found, left = set[int](), list(wanted)
        while left:
            node = maker.get(left.pop())
            if node is not None and id(node) not in found:
                found.add(id(node))
                left.extend(node.input)
        return found

    seams = [name for name in maker if name == SQUARE or name.startswith(FEATURES)]
    shared = behind(["embedding", *seams])
    gate, head = behind(["distance"]) - shared, behind(OF_HEAD) - shared
    # The number of pictures shapes tensors; a head has fewer pictures, so it counts its own.
    head |= behind({name for node in graph.node if id(node) in head for name in node.input if _counts(name, maker)})
    return _Single(
        [node for node in graph.node if id(node) in shared],
        [node for node in graph.node if id(node) in gate],
        [node for node in graph.node if id(node) in head and not _is_of_pictures(node, shared, maker)],
        {value.name: value for value in graph.initializer},
    )


def _is_of_pictures(node: NodeProto, shared: set[int], maker: Mapping[str, NodeProto]) -> bool:
    """Whether a node that both need makes tensors of pictures, and so is not made again for a head."""
    return id(node) in shared and not any(_counts(name, maker) for name in node.output)


def _counts(name: str, maker: Mapping[str, NodeProto]) -> bool:
    """Whether a value says how many pictures there are, or is the same for all."""
    node = maker.get(name)
    if node is None or ("image" in node.input and node.op_type != "Shape"):
        return False
    if node.op_type == "Shape":
        return picture_axis(node)
    made = [value for value in node.input if value in maker]
    return not made or (node.op_type in _COUNTS and all(_counts(value, maker) for value in made))


def _known(
    model: ModelProto,
) -> tuple[list[NodeProto], list[NodeProto], list[NodeProto], list[TensorProto], list[float]]:
    """A graph of several products -> shared nodes, gates, heads, the gates' values, the gates' limits."""
    shared, gates, heads = list[NodeProto](), list[NodeProto](), list[NodeProto]()
    chosen = {*OF_HEAD, "distance", PRODUCT_INDEX}
    for node in model.graph.node:
        if node.op_type == "If":
            heads.append(node)
        elif _OWN.match(node.output[0]):
            gates.append(node)
        elif not (node.output[0].startswith("products_") or node.output[0] in chosen):
            shared.append(node)
    own = [value for value in model.graph.initializer if _OWN.match(value.name)]
    limits = next(numpy_helper.to_array(value) for value in model.graph.initializer if value.name == _LIMITS)
    return shared, gates, heads, own, [float(limit) for limit in limits[0]]


def _matched(shared: Sequence[NodeProto], values: Mapping[str, TensorProto], new: _Single) -> dict[str, str]:
    """What the new graph calls a value of the shared part -> what that is called here. Raises BundleError."""
    same = {"image": "image", "": ""}
    other = BundleError(
        "the new product's graph sees pictures in another way than the bundle's: the backbone, its weights, the recipe "
        "or the versions of torch differ; fit all products again, together"
    )
    if len(shared) != len(new.shared):
        raise other
    for ours, theirs in zip(shared, new.shared, strict=True):
        kinds = [(node.op_type, node.domain, sorted(_attributes(node))) for node in (ours, theirs)]
        if kinds[0] != kinds[1] or len(ours.input) != len(theirs.input):
            raise other
        for here, there in zip(ours.input, theirs.input, strict=True):
            known = there in same and same[there] == here
            if not known and not _equal(values.get(here), new.values.get(there)):
                raise other
        same |= dict(zip(theirs.output, ours.output, strict=True))
    return same


def _attributes(node: NodeProto) -> list[bytes]:
    return [attribute.SerializeToString(deterministic=True) for attribute in node.attribute]


def _equal(ours: TensorProto | None, theirs: TensorProto | None) -> bool:
    if ours is None or theirs is None:
        return False
    first, second = numpy_helper.to_array(ours), numpy_helper.to_array(theirs)
    return first.dtype == second.dtype and first.shape == second.shape and first.tobytes() == second.tobytes()


def _read(nodes: Iterable[NodeProto]) -> list[str]:
    """Names of what nodes read, once each, in order."""
    return list(dict.fromkeys(name for node in nodes for name in node.input if name))


def _renamed(
    nodes: Sequence[NodeProto], values: Mapping[str, TensorProto], prefix: str, outside: Mapping[str, str]
) -> tuple[list[NodeProto], list[TensorProto]]:
    """Copies of nodes and of the values that they read, under names of their own. `outside`: what they are given."""
    made = {name for node in nodes for name in node.output}
    copies, read = [], list[TensorProto]()
    for name in _read(nodes):
        if name in values:
            copy = TensorProto.FromString(values[name].SerializeToString())
            copy.name = prefix + name
            read.append(copy)
    for node in nodes:
        copied = NodeProto.FromString(node.SerializeToString())
        copied.name = prefix + node.name if node.name else ""
        named = [
            name if not name else prefix + name if name in made or name in values else outside[name]
            for name in node.input
        ]
        del copied.input[:]
        copied.input.extend(named)
        outputs = [prefix + name if name else "" for name in node.output]
        del copied.output[:]
        copied.output.extend(outputs)
        copies.append(copied)
    return copies, read


def _head(apart: _Single, number: int, same: Mapping[str, str], anomaly_map: onnx.ValueInfoProto) -> NodeProto:
    """A product's head: nothing where no picture shows it, and else its own nodes on its rows of the levels."""
    prefix, rows = f"product{number}_", f"products_rows_{number}"
    made = {name for node in apart.head for name in node.output}
    given = [name for name in _read(apart.head) if name not in made and name not in apart.values]
    of_all = [node for node in apart.head if picture_axis(node) and node.input[0] not in made]
    tensors = [name for name in given if any(name in node.input for node in apart.head if node not in of_all)]
    if not tensors or "image" in tensors:
        raise BundleError("this graph's heads read the picture itself, so it cannot hold several products; report it")
    outside = {name: f"{prefix}rows_{name}" for name in tensors}
    outside |= {name: outside[tensors[0]] for name in given if name not in tensors}
    nodes, values = _renamed(apart.head, apart.values, prefix, outside)
    gathers = [helper.make_node("Gather", [same[name], rows], [outside[name]], axis=0) for name in tensors]
    places = [dim.dim_value for dim in anomaly_map.type.tensor_type.shape.dim[1:]]
    shapes = {"score": [], "anomaly_map": places, "top_floor": []}
    typed = [
        helper.make_tensor_value_info(prefix + name, TensorProto.FLOAT, [f"{prefix}pictures", *shape])
        for name, shape in shapes.items()
    ]
    then = helper.make_graph([*gathers, *nodes], f"{prefix}head", [], typed, values)
    empty = {f"{prefix}no_{name}": np.zeros((0, *shape), np.float32) for name, shape in shapes.items()}
    none = helper.make_graph(
        [
            helper.make_node("Constant", [], [name], value=numpy_helper.from_array(value))
            for name, value in empty.items()
        ],
        f"{prefix}nothing",
        [],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, value.shape) for name, value in empty.items()],
    )
    outputs = [f"products_{name}_{number}" for name in shapes]
    return helper.make_node("If", [f"products_any_{number}"], outputs, then_branch=then, else_branch=none)


def _choose(graph: GraphProto, nodes: Sequence[NodeProto], heads: Sequence[NodeProto], limits: Sequence[float]) -> None:
    """Nodes that say which product each picture shows, give each head its rows, and put the heads' answers in order."""
    numbers = range(len(heads))
    constants = {
        _LIMITS: np.array([limits], np.float32),  # (1, products)
        "products_axis_0": np.array([0], np.int64),
        "products_axis_1": np.array([1], np.int64),
        "products_zero": np.int64(0),
        "products_one": np.int64(1),
        **{f"products_number_{number}": np.int64(number) for number in numbers},
    }
    graph.initializer.extend(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())
    columns = "".join(
        f"products_distance_{number} = Unsqueeze (product{number}_gate_distance, products_axis_1)\n"
        for number in numbers
    )
    rows = "".join(
        f"products_is_{number} = Equal (product_index, products_number_{number})\n"
        f"products_found_{number} = NonZero (products_is_{number})\n"
        f"products_rows_{number} = Squeeze (products_found_{number}, products_axis_0)\n"
        f"products_size_{number} = Size (products_rows_{number})\n"
        f"products_any_{number} = Greater (products_size_{number}, products_zero)\n"
        for number in numbers
    )

    def all_of(what: str) -> str:
        return ", ".join(f"products_{what}_{number}" for number in numbers)

    # Relative to its own limit, so that products whose good parts differ more do not take the others' pictures.
    before = f"""
products (float[N] embedding) => (int64[N] product_index) {{
    {columns}
    products_distances = Concat <axis = 1> ({all_of("distance")})
    products_relative = Div (products_distances, {_LIMITS})
    products_nearest = ArgMin <axis = 1, keepdims = 0> (products_relative)
    products_count = Shape <start = 0, end = 1> (embedding)
    products_asked = Expand (product, products_count)
    products_open = Less (products_asked, products_zero)
    product_index = Where (products_open, products_nearest, products_asked)
    products_column = Unsqueeze (product_index, products_axis_1)
    products_own_distance = GatherElements <axis = 1> (products_distances, products_column)
    distance = Squeeze (products_own_distance, products_axis_1)
    {rows}
}}
"""
    together = "".join(
        f"products_all_{name} = Concat <axis = 0> ({all_of(name)})\n{name} = Gather <axis = 0> (products_all_{name}, "
        "products_places)\n"
        for name in OF_HEAD
    )
    after = f"""
products (float[N] embedding) => (float[N] score) {{
    products_order = Concat <axis = 0> ({all_of("rows")})
    products_size = Squeeze (products_count, products_axis_0)
    products_range = Range (products_zero, products_size, products_one)
    products_places = ScatterElements <axis = 0> (products_order, products_order, products_range)
    {together}
}}
"""
    graph.node.extend(nodes)
    graph.node.extend(onnx.parser.parse_graph(before).node)
    graph.node.extend(heads)
    graph.node.extend(onnx.parser.parse_graph(after).node)
