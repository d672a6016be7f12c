"""Cuts a network where gradients stop, into a frozen side and a trainable one.

What crosses the cut is all that training needs to know of an image. Where it lies is found by a
minimum cut over the traced network: of all places behind which no trainable parameter acts on the
frozen side, the one that the fewest bytes cross. Operators that multiply no matrices may be done
again on the trainable side where that saves bytes.
"""

import copy
import hashlib
import inspect
import operator
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import torch
from timm.layers import Conv2dSame
from timm.models._features_fx import get_notrace_functions, get_notrace_modules
from torch import Tensor, fx, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.utils.flop_counter import FlopCounterMode

from fashion.models.backbone import BATCH_NORMS, FROZEN_BATCH_NORMS
from fashion.models.heads import FLOAT32_HEADS

PROBE = 5  # images of the trial batch: a first dimension of another length holds no images
TOLERANCE = 1e-4  # of the largest logit, between the cut and the uncut network
FOLDABLE = (nn.Conv2d, Conv2dSame)  # subclasses may do more to their weights than convolve


class NoCutError(Exception):
    """A network can't be cut, or there is nothing frozen to cut off; says why."""


@dataclass(frozen=True)
class BoundaryTensor:
    """A tensor that crosses the cut.

    Attributes:
        name: Of the operator that yields it, after torch.fx.
        shape: Of one image.
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Cut:
    """Where a network is cut.

    Attributes:
        boundary: What the frozen side returns and the trainable side takes, in this order.
        again: Names of the frozen operators that the trainable side does again.
    """

    boundary: tuple[BoundaryTensor, ...]
    again: tuple[str, ...]
    frozen_graph: fx.Graph = field(repr=False)
    tail_graphs: dict[bool, fx.Graph] = field(repr=False)  # by the network's mode: training or not

    def tail(self, network: nn.Module, *, training: bool) -> fx.GraphModule:
        """Return the trainable side; its layers are the network's own.

        Call it anew when the network has been moved to another device.
        """
        return fx.GraphModule(network, self.tail_graphs[training])

    def frozen(
        self, network: nn.Module, dtype: torch.dtype = torch.float32, *, fold: bool
    ) -> fx.GraphModule:
        """Return a copy of the frozen side on the host, in evaluation mode, without gradients.

        Args:
            network: The network that was cut.
            dtype: Of its weights and of all that it computes.
            fold: Merge each BatchNorm with the convolution before it, and make fixed affine maps
                of the others.
        """
        side = copy.deepcopy(fx.GraphModule(network, self.frozen_graph)).cpu()
        if fold:
            _fold_batch_norms(side)
        side = side.to(dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return side.eval().requires_grad_(False)  # type: ignore[no-any-return]

    def digest(self, network: nn.Module) -> str:
        """Return a hash of what the frozen side computes: its operators and all its weights."""
        side = fx.GraphModule(network, self.frozen_graph)
        digest = hashlib.sha256(side.code.encode())
        for name, module in side.named_modules():
            digest.update(f"{name} {module}\n".encode())
        for name, tensor in sorted(side.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()


def find_cut(network: nn.Module, input_size: int) -> Cut:
    """Cut a network where its gradients stop, as its `requires_grad` flags say.

    The cut network is compared with the whole one on random images, in both modes.

    Args:
        network: Takes `(B, 3, input_size, input_size)`. It is left as it is.
        input_size: In pixels.

    Raises:
        NoCutError: torch.fx can't trace the network, nothing in it is frozen, or the two halves
            don't compute what the whole does.
    """
    if all(parameter.requires_grad for parameter in network.parameters()):
        raise NoCutError("all its layers train")
    trial = copy.deepcopy(network).cpu().float()
    with torch.random.fork_rng(devices=[]):
        images = torch.randn(PROBE, 3, input_size, input_size)
        graphs = {training: _trace(trial, training) for training in (True, False)}
        facts, trained = _probe(trial, graphs[True], images)
        stored, again = _minimum_cut(graphs[True], facts)
        if not stored or any(node.op == "placeholder" for node in stored):
            raise NoCutError("nothing in front of its first trainable layer is frozen")
        cut = _split(graphs, stored, again, facts)
        _compare(trial, cut, images, trained)
    return cut


@dataclass
class _Facts:
    """What a trial run tells of each operator.

    Attributes:
        shapes: Of one image, for the operators whose value can be stored.
        costly: Those that multiply matrices.
        trained: Those that a trainable parameter or chance acts in or before.
        constant: Those on which the images have no influence.
    """

    shapes: dict[fx.Node, tuple[int, ...]] = field(default_factory=dict)
    costly: set[fx.Node] = field(default_factory=set)
    trained: set[fx.Node] = field(default_factory=set)
    constant: set[fx.Node] = field(default_factory=set)


class _Tracer(fx.Tracer):
    def __init__(self) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))  # type: ignore[no-untyped-call]
        opaque = get_notrace_modules()  # type: ignore[no-untyped-call]
        self._leaves = (*opaque, *BATCH_NORMS, *FROZEN_BATCH_NORMS, *FLOAT32_HEADS)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        whole = isinstance(m, self._leaves) or not any(True for _ in m.children())
        return whole or super().is_leaf_module(m, module_qualified_name)


class _Probe(fx.Interpreter):
    """Runs a traced network in training mode and notes what each operator is like."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        super().__init__(network, graph=graph)
        self.facts = _Facts()
        self.images = next(iter(graph.nodes))

    def run_node(self, n: fx.Node) -> Any:  # noqa: ANN401
        chance = torch.random.get_rng_state()
        with FlopCounterMode(display=False) as counter:
            value = super().run_node(n)
        facts, inputs = self.facts, n.all_input_nodes
        if self._trains(n) or not torch.equal(chance, torch.random.get_rng_state()):
            facts.trained.add(n)
        if facts.trained.intersection(inputs):
            facts.trained.add(n)
        elif n.op != "output" and n is not self.images and facts.constant.issuperset(inputs):
            facts.constant.add(n)
        if counter.get_total_flops():
            facts.costly.add(n)
        is_stored = isinstance(value, Tensor) and value.is_floating_point() and value.ndim > 1
        if is_stored and len(value) == PROBE:
            facts.shapes[n] = tuple(value.shape[1:])
        return value

    def _trains(self, node: fx.Node) -> bool:
        if node.op == "get_attr":
            value = operator.attrgetter(str(node.target))(self.module)
            return isinstance(value, Tensor) and value.requires_grad
        if node.op != "call_module":
            return False
        module = self.module.get_submodule(str(node.target))
        tracks = any(
            isinstance(part, BATCH_NORMS) and part.track_running_stats for part in module.modules()
        )
        return tracks or any(parameter.requires_grad for parameter in module.parameters())


def _trace(network: nn.Module, training: bool) -> fx.Graph:
    network.train(training)
    _, *others = inspect.signature(network.forward).parameters.values()
    fixed = {each.name: each.default for each in others if each.default is not each.empty}
    try:
        return _Tracer().trace(network, concrete_args=fixed)
    except Exception as error:  # whatever the network's own code raises when it meets a proxy
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise NoCutError(f"torch.fx can't trace it ({reason})") from error


def _probe(network: nn.Module, graph: fx.Graph, images: Tensor) -> tuple[_Facts, Tensor]:
    """Return the facts and the logits."""
    network = copy.deepcopy(network).train()  # running it moves the statistics of its BatchNorms
    probe = _Probe(network, graph)
    torch.manual_seed(0)
    with torch.no_grad():
        try:
            logits: Tensor = probe.run(images)
        except Exception as error:
            raise NoCutError(f"its traced form can't be run ({error})") from error
    return probe.facts, logits


def _minimum_cut(graph: fx.Graph, facts: _Facts) -> tuple[list[fx.Node], list[fx.Node]]:
    """Return the nodes to store and the frozen ones to do again, each in the graph's order.

    A frozen node is an edge, as heavy as its value, between "done again" and "needed"; the sink
    stands for the trainable side. Of several minimum cuts networkx returns the one nearest to the
    sink, which does the least again.
    """
    flow: nx.DiGraph[Any] = nx.DiGraph()
    flow.add_nodes_from(("source", "sink"))
    frozen = [
        node
        for node in graph.nodes
        if node not in facts.trained and node not in facts.constant and node.op != "output"
    ]
    for node in frozen:
        done, needed = (node, "again"), (node, "needed")
        weight = torch.Size(facts.shapes[node]).numel() if node in facts.shapes else None
        flow.add_edge(done, needed, **({} if weight is None else {"capacity": weight}))
        if node in facts.costly or not node.all_input_nodes:
            flow.add_edge("source", done)
        for parent in node.all_input_nodes:
            if parent not in facts.constant:
                flow.add_edge((parent, "needed"), done)
        if any(user in facts.trained or user.op == "output" for user in node.users):
            flow.add_edge(needed, "sink")
    try:
        _, (_, near_sink) = nx.minimum_cut(flow, "source", "sink")
    except nx.NetworkXUnbounded as error:
        raise NoCutError("no tensors with a row an image separate its frozen layers") from error
    again = [node for node in frozen if (node, "again") in near_sink]
    stored = [node for node in frozen if (node, "needed") in near_sink and node not in again]
    return stored, again


def _split(
    graphs: dict[bool, fx.Graph], stored: list[fx.Node], again: list[fx.Node], facts: _Facts
) -> Cut:
    names = {node: node.name for node in stored}
    marks = _marks(graphs[True])
    by_mark = {mark: node for node, mark in _marks(graphs[False]).items()}
    try:
        evaluated = {by_mark[marks[node]]: name for node, name in names.items()}
    except KeyError as error:
        raise NoCutError("its frozen layers depend on the mode") from error
    return Cut(
        boundary=tuple(BoundaryTensor(node.name, facts.shapes[node]) for node in stored),
        again=tuple(node.name for node in again),
        frozen_graph=_frozen_graph(graphs[False], list(evaluated)),
        tail_graphs={
            True: _tail_graph(graphs[True], names),
            False: _tail_graph(graphs[False], evaluated),
        },
    )


def _marks(graph: fx.Graph) -> dict[fx.Node, str]:
    """Return a hash of each operator with all that goes into it, the same in another trace."""
    marks: dict[fx.Node, str] = {}
    for node in graph.nodes:
        target = node.target if isinstance(node.target, str) else repr(node.target)
        inputs = fx.node.map_arg((node.args, node.kwargs), lambda parent: marks[parent])
        text = f"{node.op} {target} {inputs}" if node.op != "placeholder" else node.name
        marks[node] = hashlib.sha256(text.encode()).hexdigest()
    return marks


def _frozen_graph(graph: fx.Graph, stored: list[fx.Node]) -> fx.Graph:
    side = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    _copy_needed(graph, side, stored, copies)
    side.output(tuple(copies[node] for node in stored))
    return side


def _tail_graph(graph: fx.Graph, stored: dict[fx.Node, str]) -> fx.Graph:
    side = fx.Graph()
    copies = {node: side.placeholder(f"{name}_stored") for node, name in stored.items()}
    _copy_needed(graph, side, [node for node in graph.nodes if node.op == "output"], copies)
    return side


def _copy_needed(
    graph: fx.Graph, side: fx.Graph, outputs: list[fx.Node], copies: dict[fx.Node, fx.Node]
) -> None:
    """Copy into `side`, in the graph's order, what `outputs` need beyond what `copies` holds."""
    needed, todo = set(copies), list(outputs)
    while todo:
        node = todo.pop()
        if node not in needed:
            needed.add(node)
            todo.extend(node.all_input_nodes)
    for node in graph.nodes:
        if node in needed and node not in copies:
            copies[node] = side.node_copy(node, copies.__getitem__)


def _compare(network: nn.Module, cut: Cut, images: Tensor, trained: Tensor) -> None:
    """Run the cut network on the images that the whole one turned into `trained` by training."""
    with torch.no_grad():
        whole = {True: trained, False: network.eval()(images)}
        stored = fx.GraphModule(network, cut.frozen_graph)(images)
        for training in (False, True):
            network.train(training)
            torch.manual_seed(0)
            logits = cut.tail(network, training=training)(*(part.clone() for part in stored))
            difference = (logits - whole[training]).abs().max() / whole[training].abs().max()
            if not difference <= TOLERANCE:
                raise NoCutError(f"its halves compute something else, off by {difference:.1e}")


class _Affine(nn.Module):
    """A frozen BatchNorm as what it is: a factor and a summand a channel."""

    scale: Tensor
    shift: Tensor

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        mean, var = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
        scale = norm.get_buffer("weight") * torch.rsqrt(var + float(norm.eps))  # type: ignore[arg-type]
        self.register_buffer("scale", scale[:, None, None].clone())
        self.register_buffer("shift", (norm.get_buffer("bias") - mean * scale)[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


def _fold_batch_norms(side: fx.GraphModule) -> None:
    modules = dict(side.named_modules())
    for node in list(side.graph.nodes):
        norm = modules.get(node.target) if node.op == "call_module" else None
        if not isinstance(norm, FROZEN_BATCH_NORMS):
            continue
        before = node.args[0]
        conv = modules.get(before.target) if before.op == "call_module" else None
        if type(conv) in FOLDABLE and len(before.users) == 1 and _used_once(side, before.target):
            assert isinstance(conv, nn.Conv2d)
            conv.weight, conv.bias = fuse_conv_bn_weights(
                *(conv.weight, conv.bias, norm.get_buffer("running_mean")),
                *(norm.get_buffer("running_var"), norm.eps),
                *(norm.get_buffer("weight"), norm.get_buffer("bias")),
            )
            steps: list[nn.Module] = []
        else:
            steps = [_Affine(norm)]
        # timm's variants carry their activation.
        steps += [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
        parent, _, name = str(node.target).rpartition(".")
        setattr(side.get_submodule(parent), name, nn.Sequential(*steps))
    side.recompile()


def _used_once(side: fx.GraphModule, target: str) -> bool:
    return [node.target for node in side.graph.nodes].count(target) == 1
