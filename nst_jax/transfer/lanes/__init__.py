"""Many runs at once, by the same functions as one: `transfer.step`, batched with ``jax.vmap`` or on threads.

Every run is a lane. On a GPU or TPU lanes of one shape are batched: L-BFGS without a line search takes one
evaluation a step, so they stay in lockstep, and one that has ended is frozen by the solver itself. Several
devices share a batch. On a CPU a batch is no faster than its lanes one after another, but two of them on two
threads are, since one alone leaves cores idle at times: there every thread takes the next lane. Either way
there is one compiled program for each shape of picture.
"""

from nst_jax.transfer.lanes.arrays import stylize_grid
from nst_jax.transfer.lanes.plan import Mode, lanes_at_once, shares
from nst_jax.transfer.lanes.programs import align
from nst_jax.transfer.lanes.work import Curve, GridProgress, run

__all__ = ["Curve", "GridProgress", "Mode", "align", "lanes_at_once", "run", "shares", "stylize_grid"]
