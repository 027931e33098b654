"""Models whose parameters meet products, and other things, in many ways; a few transitions each."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from pgx_jax.estimation.gradients.factors import factorise_gradient

ACTION = np.int32(1)


class Model(NamedTuple):
    """Leaves are numbered in tree order."""

    log_prob: Callable
    params: Any
    observation: Any
    products: tuple[int, ...]  # the leaf of each product that is taken in factors
    explicit: tuple[int, ...]  # leaves whose gradients are formed


def normal(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def filled(shapes):
    """Random numbers of these shapes; quicker than to run initialisers."""
    leaves, treedef = jax.tree.flatten(shapes)
    return jax.tree.unflatten(
        treedef, [normal(seed, *leaf.shape) for seed, leaf in enumerate(leaves)]
    )


def pick(logits, action):
    return jax.nn.log_softmax(logits)[action]


class LinenMLP(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Dense(5)(x)))


class NnxMLP(nnx.Module):
    def __init__(self, rngs):
        self.first = nnx.Linear(4, 5, rngs=rngs)
        self.second = nnx.Linear(5, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(nnx.gelu(self.first(x)))


class Convolution(nn.Module):
    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Conv(2, (2, 2))(x)).reshape(-1))


class Attention(nn.Module):
    """Kernels of three axes, contracted over the first and over the first two."""

    @nn.compact
    def __call__(self, x):
        heads = nn.DenseGeneral((2, 3))(x)
        return nn.DenseGeneral(3, axis=(-2, -1))(nn.tanh(heads)).mean(axis=0)


def linen():
    params = filled(jax.eval_shape(LinenMLP().init, jax.random.key(0), jnp.zeros(4)))
    return Model(
        lambda p, o, a: pick(LinenMLP().apply(p, o), a), params, normal(0, 4), (3, 1), (0, 2)
    )


def nnx_module():
    graph, state = nnx.split(nnx.eval_shape(lambda: NnxMLP(nnx.Rngs(0))))
    state = filled(state)
    return Model(
        lambda p, o, a: pick(nnx.merge(graph, p)(o), a), state, normal(0, 4), (1, 3), (0, 2)
    )


def convolution():
    observation = normal(0, 4, 4, 2)
    params = filled(jax.eval_shape(Convolution().init, jax.random.key(0), observation))
    return Model(
        lambda p, o, a: pick(Convolution().apply(p, o), a), params, observation, (3,), (0, 1, 2)
    )


def attention():
    observation = normal(0, 6, 4)
    params = filled(jax.eval_shape(Attention().init, jax.random.key(0), observation))
    return Model(
        lambda p, o, a: pick(Attention().apply(p, o), a), params, observation, (1, 3), (0, 2)
    )


def plain(function, observation=(4,), *, products, explicit=(), dtype=jnp.float32, **shapes):
    """A model of matrices by name, numbered in the order of their names."""
    params = {
        name: normal(i, *shape).astype(dtype) for i, (name, shape) in enumerate(shapes.items())
    }
    return Model(
        lambda p, o, a: pick(function(o, **p).astype(jnp.float32), a),
        params,
        normal(9, *observation),
        products,
        explicit,
    )


def looped(x, v, w):
    def step(hidden, _):
        return jnp.tanh(w @ hidden), None

    return jax.lax.scan(step, x, None, length=3)[0] @ v


def called_twice(x, v, w):
    layer = jax.jit(jax.checkpoint(lambda x, w: jnp.tanh(w @ x)))
    return layer(layer(x, w), w) @ v


@jax.custom_vjp
def backward_doubled(x, w):
    return x @ w


backward_doubled.defvjp(
    lambda x, w: (x @ w, (x, w)),
    lambda saved, d: (2 * saved[1] @ d, 2 * jnp.outer(saved[0], d)),
)


MODELS = {
    "linen": linen,
    "nnx": nnx_module,
    "convolution": convolution,
    "attention": attention,
    "stored transposed": lambda: plain(
        lambda x, v, w: v @ jnp.tanh(w.T @ x), products=(1, 0), v=(3, 5), w=(4, 5)
    ),
    "tied": lambda: plain(
        lambda x, v, w: jnp.tanh(jnp.tanh(x @ w) @ w.T) @ v, products=(1, 1, 0), v=(4, 3), w=(4, 5)
    ),
    "one call twice": lambda: plain(called_twice, products=(1, 1, 0), v=(4, 3), w=(4, 4)),
    "sequence": lambda: plain(
        lambda x, b, v, w: (jnp.tanh(x @ w + b) @ v).mean(axis=0),
        (6, 4),
        products=(2, 1),
        explicit=(0,),
        b=(5,),
        v=(5, 3),
        w=(4, 5),
    ),
    "modules in one leaf": lambda: plain(
        lambda x, v, w: jnp.einsum("tmo,moj->tj", jnp.tanh(jnp.einsum("ti,mio->tmo", x, w)), v)[0],
        (2, 4),
        products=(1, 0),
        v=(2, 5, 3),
        w=(2, 4, 5),
    ),
    "batched product": lambda: plain(
        lambda x, w: jax.vmap(lambda x, w: jnp.tanh(x @ w))(x, w).sum(axis=0),
        (2, 4),
        products=(0,),
        w=(2, 4, 3),
    ),
    "batched over the last axis": lambda: plain(
        lambda x, w: jnp.einsum("bi,iob->o", x, w), (3, 4), products=(0,), w=(4, 3, 3)
    ),
    "unit axes": lambda: plain(
        lambda x, v, w: jnp.tanh(x[:3, None] @ w) @ v.squeeze(1),
        products=(1, 0),
        v=(5, 1),
        w=(1, 5),
    ),
    "product of parameters": lambda: plain(
        lambda x, v, w: x @ (w @ v), products=(1, 0), v=(5, 3), w=(4, 5)
    ),
    "vector": lambda: plain(
        lambda x, u, w: (x @ w) * (x @ u), products=(1,), explicit=(0,), u=(4,), w=(4, 3)
    ),
    "used outside a product": lambda: plain(
        lambda x, v, w: jnp.tanh(x @ w) @ v + (w**2).sum(),
        products=(0,),
        explicit=(1,),
        v=(5, 3),
        w=(4, 5),
    ),
    "scaled": lambda: plain(lambda x, w: x @ (2 * w), products=(), explicit=(0,), w=(4, 3)),
    "scan": lambda: plain(looped, products=(0,), explicit=(1,), v=(4, 3), w=(4, 4)),
    "own derivative": lambda: plain(
        lambda x, v, w: backward_doubled(x, w) @ v, products=(0,), explicit=(1,), v=(5, 3), w=(4, 5)
    ),
    "stopped": lambda: plain(
        lambda x, v, w: x @ w + x @ jax.lax.stop_gradient(v),
        products=(1,),
        explicit=(0,),
        v=(4, 3),
        w=(4, 3),
    ),
    "lookup": lambda: plain(
        lambda x, v, w: w[jnp.argmax(x)] @ v, products=(0,), explicit=(1,), v=(5, 3), w=(4, 5)
    ),
    "unused": lambda: plain(lambda x, v, w: x @ w, products=(1,), v=(100,), w=(4, 3)),
    "half precision": lambda: plain(
        lambda x, v, w: jnp.tanh(x.astype(w.dtype) @ w) @ v,
        products=(1, 0),
        dtype=jnp.bfloat16,
        v=(5, 3),
        w=(4, 5),
    ),
}


@cache
def factored(name):
    """The model, its factorisation, and factors and true gradients of three transitions."""
    model = MODELS[name]()
    factorisation = factorise_gradient(model.log_prob, model.params, model.observation, ACTION)
    observations = model.observation + normal(5, 3, *model.observation.shape)

    @jax.jit
    def run(params, observations, actions):
        factors = jax.vmap(factorisation.factors, (None, 0, 0))(params, observations, actions)
        gradients = jax.vmap(jax.grad(model.log_prob), (None, 0, 0))(params, observations, actions)
        return factors, gradients

    return model, factorisation, *run(model.params, observations, np.full(3, ACTION))
