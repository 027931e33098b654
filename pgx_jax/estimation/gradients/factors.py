"""Per-example gradients of matrix products as factors, found without touching the model.

For y = W a the gradient of one example is a ⊗ δ with δ = ∂ log π / ∂y. Both are by-products of
one forward and one backward pass over a batch, so a p-dimensional gradient is never formed.

``log_prob`` is traced once. Products of a parameter with an activation are found in the trace;
a zero is added to the result of each, and the gradient with respect to that zero is δ.

Differences from the references:

1. The layers are found in the trace instead of by name or by hooks, so any framework will do.
2. A parameter that meets anything but a product (a convolution, a lookup, a scan, an
   elementwise operation) has its per-example gradient taken by itself, as do vectors.
3. A parameter that is used in several products, or in one product over several positions, has
   the sum of its outer products for a gradient.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.extend.core import ClosedJaxpr, Literal

# Calls that mean no more than their body. Custom derivative rules are not among them.
_TRANSPARENT = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2")


class Outer(NamedTuple):
    """One product's share in the gradient of a leaf: G[b, c, f] = Σ_p inputs[b,p,c] deltas[b,p,f].

    Attributes:
        inputs: float[b, p, c], what the parameter was multiplied with.
        deltas: float[b, p, f], gradient with respect to the result.
    """

    inputs: Any
    deltas: Any


@dataclass(frozen=True)
class Product:
    """Where a parameter leaf of two or more axes is multiplied with something.

    Attributes:
        leaf: number of the leaf in tree order.
        site: number of the product.
        side: operand that the leaf is, 0 or 1.
        numbers: contracting and batch dimensions of the two operands, as ``dot_general`` has them.
        batch_axes: axes of the leaf that index separate products; b above.
        input_axes: axes that are summed over; c above.
        output_axes: axes that appear in the result; f above. Axes of length 1 may be in none.
    """

    leaf: int
    site: int
    side: int
    numbers: Any
    batch_axes: tuple[int, ...]
    input_axes: tuple[int, ...]
    output_axes: tuple[int, ...]


class GradientFactors(NamedTuple):
    """The gradient of one transition in factors.

    Attributes:
        outers: one ``Outer`` for each of ``Factorisation.products``.
        explicit: gradients of the leaves ``Factorisation.explicit``, in their own shapes.
    """

    outers: tuple[Outer, ...]
    explicit: tuple[Array, ...]


@dataclass(frozen=True)
class Factorisation:
    """How the gradient of ``log_prob`` decomposes.

    Attributes:
        products: products whose outer products make up the gradients of their leaves.
        explicit: numbers of the leaves whose gradients are taken by themselves. A leaf in
            neither does not take part in ``log_prob``.
        shapes: shapes of all leaves.
        program: the trace that the products were found in.
    """

    products: tuple[Product, ...]
    explicit: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    program: "_Program"

    @property
    def leaves(self) -> list[int]:
        """Numbers of the leaves that take part."""
        return sorted({product.leaf for product in self.products} | set(self.explicit))

    def factors(self, params: Any, observation: Any, action: Any) -> GradientFactors:
        """The gradient of one transition; ``vmap`` it over a batch.

        Args:
            params: of the shapes that ``log_prob`` was traced for.
            observation: of one transition.
            action: of one transition.

        Returns:
            ``GradientFactors`` in the dtypes of the trace.
        """
        leaves = jax.tree.leaves(params)
        rest = jax.tree.leaves((observation, action))
        sites = sorted({product.site for product in self.products})
        zeros = [jnp.zeros(*self.program.result_of(site)) for site in sites]

        def run(chosen: list[Array], zeros: list[Array]) -> tuple[Array, dict[int, list[Array]]]:
            values = list(leaves)
            for leaf, value in zip(self.explicit, chosen, strict=True):
                values[leaf] = value
            return self.program.run([*values, *rest], dict(zip(sites, zeros, strict=True)))

        chosen = [jnp.asarray(leaves[leaf]) for leaf in self.explicit]
        (explicit, deltas), operands = jax.grad(run, argnums=(0, 1), has_aux=True)(chosen, zeros)
        delta_of = dict(zip(sites, deltas, strict=True))
        outers = [
            _outer(product, operands[product.site], delta_of[product.site])
            for product in self.products
        ]
        return GradientFactors(tuple(outers), tuple(explicit))


def factorise_gradient(
    log_prob: Callable[[Any, Any, Any], Array], params: Any, observation: Any, action: Any
) -> Factorisation:
    """Trace ``log_prob`` and find the products that its parameters take part in.

    Args:
        log_prob: ``log_prob(params, observation, action)`` -> real scalar.
        params: pytree of parameters, or of their shapes.
        observation: of one transition, or its shape.
        action: of one transition, or its shape.

    Returns:
        The factorisation, valid for values of the same shapes.

    Reference:
        Goodfellow (2015), "Efficient per-example gradient computations", arXiv 1510.01799.
    """
    leaves, treedef = jax.tree.flatten(params)

    def flat(leaves: list[Any], observation: Any, action: Any) -> Array:
        return log_prob(jax.tree.unflatten(treedef, leaves), observation, action)

    closed = jax.make_jaxpr(flat)(leaves, observation, action)
    shapes = tuple(tuple(jnp.shape(leaf)) for leaf in leaves)
    program = _Program(closed, shapes)
    products, opaque = program.uses()
    vectors = {leaf for leaf, shape in enumerate(shapes) if len(shape) < 2 or 0 in shape}
    explicit = (vectors & program.met) | opaque
    factored = tuple(product for product in products if product.leaf not in explicit)
    return Factorisation(factored, tuple(sorted(explicit)), shapes, program)


def outer_gradient(product: Product, shape: tuple[int, ...], outer: Outer) -> Array:
    """The share of one product in the gradient of its leaf, of that leaf's shape."""
    if outer.inputs.shape[-2] == 1:
        gradient = jnp.swapaxes(outer.inputs, -1, -2) * outer.deltas
    else:
        gradient = jnp.einsum(
            "...bpc,...bpf->...bcf", outer.inputs, outer.deltas, precision=jax.lax.Precision.HIGHEST
        )
    order = axes_in_order(product, len(shape))
    leading = gradient.shape[:-3]
    gradient = gradient.reshape(*leading, *(shape[axis] for axis in order))
    inverse = [len(leading) + order.index(axis) for axis in range(len(shape))]
    return gradient.transpose(*range(len(leading)), *inverse)


def on_first_axis(
    product: Product,
    shape: tuple[int, ...],
    outer: Outer,
    function: Callable[[Array, int], Array],
) -> Outer:
    """Apply ``function(array, axis)`` to the factors along the leaf's first axis.

    Args:
        product: where the leaf is used.
        shape: of the leaf.
        outer: its factors, with any leading axes.
        function: pads or slices an array along an axis.

    Returns:
        The factors of a leaf whose first axis is as long as ``function`` made it.
    """

    def change(factor: Array, axes: tuple[int, ...], place: int) -> Array:
        if 0 not in axes:
            return factor
        place += factor.ndim
        before, after = factor.shape[:place], factor.shape[place + 1 :]
        split = factor.reshape(*before, *(shape[axis] for axis in axes), *after)
        changed = function(split, place + axes.index(0))
        return changed.reshape(*before, -1, *after)

    inputs, deltas = (change(factor, product.batch_axes, -3) for factor in outer)
    return Outer(change(inputs, product.input_axes, -1), change(deltas, product.output_axes, -1))


def axes_in_order(product: Product, ndim: int) -> tuple[int, ...]:
    """Axes of the leaf in the order b, c, f; those of length 1 that were dropped come last."""
    order = product.batch_axes + product.input_axes + product.output_axes
    return order + tuple(axis for axis in range(ndim) if axis not in order)


def _outer(product: Product, operands: list[Array], delta: Array) -> Outer:
    """Operand and gradient of the result, brought to the axes [b, p, c] and [b, p, f]."""
    contracting, batch = product.numbers
    other, leaf = operands[1 - product.side], operands[product.side]
    taken = (*batch[1 - product.side], *contracting[1 - product.side])
    free = [axis for axis in range(other.ndim) if axis not in taken]
    order = (*batch[1 - product.side], *free, *contracting[1 - product.side])
    num_batch = math.prod(other.shape[axis] for axis in batch[1 - product.side])
    positions = math.prod(other.shape[axis] for axis in free)
    num_inputs = math.prod(other.shape[axis] for axis in contracting[1 - product.side])
    outputs = leaf.size // (num_batch * num_inputs)
    inputs = other.transpose(order).reshape(num_batch, positions, num_inputs)
    if product.side == 1:  # the result has the other operand's free axes first
        deltas = delta.reshape(num_batch, positions, outputs)
    else:
        deltas = delta.reshape(num_batch, outputs, positions).swapaxes(1, 2)
    return Outer(inputs, deltas)


class _View(NamedTuple):
    """A value that is a parameter leaf with its axes permuted, or axes of length 1 more or less."""

    leaf: int
    axes: tuple[int | None, ...]  # the leaf's axis behind each of its own; None for length 1


class _Step(NamedTuple):
    equation: Any
    inputs: tuple[Any, ...]  # registers, or literals as they are
    outputs: tuple[int, ...]


class _Program:
    """A trace as a flat list of equations on numbered registers."""

    def __init__(self, closed: ClosedJaxpr, shapes: tuple[tuple[int, ...], ...]):
        self.steps: list[_Step] = []
        self.constants: dict[int, Any] = {}
        self.views: dict[int, _View] = {}
        self.count = 0
        self.met: set[int] = set()
        self.inputs = [self._register() for _ in closed.jaxpr.invars]
        for leaf, shape in enumerate(shapes):
            self.views[self.inputs[leaf]] = _View(leaf, tuple(range(len(shape))))
        (self.result,) = self._append(closed.jaxpr, closed.consts, self.inputs)

    def _register(self) -> int:
        self.count += 1
        return self.count - 1

    def _append(self, jaxpr: Any, constants: Any, operands: list[Any]) -> list[Any]:
        """Add the equations of ``jaxpr``; the registers of its results."""
        environment: dict[Any, Any] = dict(zip(jaxpr.invars, operands, strict=True))
        for variable, value in zip(jaxpr.constvars, constants, strict=True):
            environment[variable] = self._register()
            self.constants[environment[variable]] = value

        def read(atom: Any) -> Any:
            return atom if isinstance(atom, Literal) else environment[atom]

        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            body = _body(equation)
            if body is not None and any(self._view(atom) for atom in inputs):
                results = self._append(body[0], body[1], inputs)
            else:
                results = [self._register() for _ in equation.outvars]
                self.steps.append(_Step(equation, tuple(inputs), tuple(results)))
                view = self._moved(equation, inputs)
                if view is not None:
                    self.views[results[0]] = view
            environment.update(zip(equation.outvars, results, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _view(self, atom: Any) -> _View | None:
        return self.views.get(atom) if isinstance(atom, int) else None

    def _moved(self, equation: Any, inputs: list[Any]) -> _View | None:
        """The view that the equation makes of a view, if it only moves axes about."""
        view = self._view(inputs[0]) if len(inputs) == 1 else None
        if view is None:
            return None
        axes = _moved_axes(equation, view.axes)
        return None if axes is None else _View(view.leaf, axes)

    def result_of(self, site: int) -> tuple[tuple[int, ...], Any]:
        """Shape and dtype of a product."""
        aval = self.steps[site].equation.outvars[0].aval
        return aval.shape, aval.dtype

    def uses(self) -> tuple[list[Product], set[int]]:
        """Products of leaves, and the leaves that something else happens to."""
        products, opaque = [], set()
        for site, step in enumerate(self.steps):
            views = [self._view(atom) for atom in step.inputs]
            self.met |= {view.leaf for view in views if view}
            if step.outputs[0:1] and self._view(step.outputs[0]) is not None:
                continue
            for side, view in enumerate(views):
                if view is None:
                    continue
                if step.equation.primitive.name != "dot_general":
                    opaque.add(view.leaf)
                    continue
                numbers = step.equation.params["dimension_numbers"]
                contracting, batch = numbers[0][side], numbers[1][side]
                free = set(range(len(view.axes))) - {*contracting, *batch}
                named = [
                    tuple(axis for axis in (view.axes[k] for k in group) if axis is not None)
                    for group in (batch, contracting, sorted(free))
                ]
                products.append(Product(view.leaf, site, side, numbers, *named))
        last = self._view(self.result)
        if last is not None:
            self.met.add(last.leaf)
            opaque.add(last.leaf)
        return products, opaque

    def run(
        self, inputs: list[Array], added: dict[int, Array]
    ) -> tuple[Array, dict[int, list[Array]]]:
        """The program's result with something added to each product, and their operands."""
        registers: dict[int, Any] = dict(zip(self.inputs, inputs, strict=True))
        registers.update(self.constants)
        operands = {}

        def read(atom: Any) -> Any:
            return atom.val if isinstance(atom, Literal) else registers[atom]

        for site, step in enumerate(self.steps):
            values = [read(atom) for atom in step.inputs]
            results = _evaluate(step.equation, values)
            if site in added:
                operands[site] = [jnp.asarray(value) for value in values]
                results = [results[0] + added[site]]
            registers.update(zip(step.outputs, results, strict=True))
        return read(self.result), operands


def _body(equation: Any) -> tuple[Any, Any] | None:
    """The trace inside a call that can be replaced by it, with its constants."""
    if equation.primitive.name not in _TRANSPARENT:
        return None
    body = equation.params.get("jaxpr", equation.params.get("call_jaxpr"))
    if body is None:
        return None
    return (body.jaxpr, body.consts) if isinstance(body, ClosedJaxpr) else (body, ())


def _evaluate(equation: Any, values: list[Any]) -> list[Any]:
    bound = equation.primitive.get_bind_params(equation.params)
    # Functions among the parameters stand apart in older versions of JAX.
    functions, options = bound if isinstance(bound, tuple) else ((), bound)
    with equation.ctx.manager:
        results = equation.primitive.bind(*functions, *values, **options)
    return list(results) if equation.primitive.multiple_results else [results]


def _moved_axes(equation: Any, axes: tuple[int | None, ...]) -> tuple[int | None, ...] | None:
    """Where the axes of a view go, or None where more happens than moving them."""
    name, options = equation.primitive.name, equation.params
    source, target = equation.invars[0].aval, equation.outvars[0].aval
    if name == "convert_element_type":
        return axes if jnp.issubdtype(target.dtype, jnp.floating) else None
    if name in ("copy", "copy_p"):
        return axes
    if name == "transpose":
        return tuple(axes[axis] for axis in options["permutation"])
    # A length above 1 has to stay in its place among the lengths above 1.
    long_axes = [axis for axis, size in zip(axes, source.shape, strict=True) if size > 1]
    same = [size for size in source.shape if size > 1] == [s for s in target.shape if s > 1]
    permuted = name == "reshape" and options["dimensions"] is not None
    if name in ("reshape", "squeeze", "broadcast_in_dim") and same and not permuted:
        following = iter(long_axes)
        return tuple(next(following) if size > 1 else None for size in target.shape)
    return None
