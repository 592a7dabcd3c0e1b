"""Which problems are alike, so that one compiled program does for them."""

from nst_jax.losses.terms import is_even
from nst_jax.transfer import pyramid
from nst_jax.transfer.problem import Problem


def program_of(problem: Problem) -> object:
    """Return what problems have in common whose program is the same."""
    layers = (tuple(problem.weights.content_layers), tuple(problem.weights.style_layers))
    return _looked_at(problem), layers, id(problem.network)


def group_of(problem: Problem) -> object:
    """Return what problems must have in common to be in one batch, besides layers and network."""
    factor = problem.settings.pyramid.factor
    budgets = None if problem.canvas is None else tuple(pyramid.shares(problem))  # they follow its own size
    return _looked_at(problem), problem.evaluations, problem.levels, factor, budgets


def _looked_at(problem: Problem) -> object:
    paintings = tuple(
        (painting.image.shape, 0 if painting.map is None else painting.map.shape[-1], painting.alpha is None)
        for painting in problem.paintings
    )
    searched = () if is_even(problem.term) else paintings
    compared = problem.size, problem.canvas is None, problem.content_size, problem.settings.content.kind
    besides = problem.keep is None, None if problem.past is None else problem.past.images.shape
    return problem.program, problem.term, problem.weights.convention, compared, searched, besides
