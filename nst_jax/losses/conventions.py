"""Whose formula the weights are meant for: the factors between published numbers and the loss here."""

from collections.abc import Sequence
from dataclasses import dataclass

from nst_jax.settings import ConventionName


@dataclass(frozen=True)
class Convention:
    """How a system turns squared differences into loss terms: its published weights mean the same here.

    With C and S of `content.content_loss` and `gram.style_loss`, N channels and M positions, the loss is
    alpha * content_factor * C (* N M if `content_sum`) + beta * sum_l w_l * style_factor * S_l (/ N_l^2 if
    `style_per_channel`) + gamma * V, V being the total variation: half of its sum if `variation_sum`,
    otherwise its mean over pixels and channels. With patches, S is `patches.patch_loss`, never per channel.
    """

    content_weight: float
    style_weight: float
    total_variation: float
    content_factor: float = 1.0
    content_sum: bool = False
    style_factor: float = 1.0
    style_per_channel: bool = False
    variation_sum: bool = False
    layers_share: bool = False
    """Whether w_l is 1 / (number of layers) unless given, or 1."""
    normalised: bool = False
    """Whether the weights are meant for the network of mean activation one."""
    smoothness: float = 0.0
    """gamma / beta unless gamma is given, for total variation that the formula itself does not have."""
    falloff: float = 1.0
    """How much less each layer counts than the one before, where a term chooses its layers; see `FALLOFF`."""

    def layer_weights(self, layers: Sequence[str], *, falloff: float = 1.0) -> dict[str, float]:
        """Return w_l of layers that are given by name alone: all alike, or ever less."""
        falling = [falloff**-i for i in range(len(layers))]
        whole = 1.0 if self.layers_share else float(len(layers))
        return {name: whole * each / sum(falling) for name, each in zip(layers, falling, strict=True)}


SMOOTHNESS = 3e-5
"""gamma / beta of Gatys et al. (2016), who have no such term: against grain.

Over nine pairs at 256 pixels what colours have above an eighth of the sampling rate is then a third of the
painting's own, layers alike, with the distances to the painting hardly changed (docs/benchmarks.md).
"""

FALLOFF = 1.7
"""w_l / w_(l+1) of Gram matrices and the like where Gatys et al. (2016) have one: all layers alike.

Deep layers leave little of the photograph, whose drawing is in them; brushwork is in the others. With a
little more of the photograph left, pictures are as near to the painting, with less noise
(docs/benchmarks.md).
"""

LIKENESS = 30.0
"""How many times more the content counts in ``gatys2016`` than in the formula of Gatys et al. (2016).

What a ratio alpha / beta means depends on the scale of the network: with activations c times as large, the
content term grows by c^2 and the style term by c^4. The authors' normalised network is not published. With
ours, of mean activation one, a run from noise at the printed ratios ends without a trace of the photograph,
even after 2000 evaluations; at thirty times as much it ends as their figures show (docs/figures.md). Theirs
must have been smaller, by about sqrt(30).
"""

CONVENTIONS: dict[ConventionName, Convention] = {
    # alpha/2 C + beta sum_l w_l/4 S_l: the paper with its content term averaged, as in the authors' own code,
    # and `LIKENESS`. alpha/beta = 1e-3 in Fig. 3; 0.6 of it unless it is given, since with `FALLOFF` more of
    # the photograph is left. Only the ratio matters.
    "gatys2016": Convention(
        0.6,
        1e3,
        0.0,
        content_factor=0.5 * LIKENESS,
        style_factor=0.25,
        layers_share=True,
        normalised=True,
        smoothness=SMOOTHNESS,
        falloff=FALLOFF,
    ),
    # Equations (1), (4), (5) as printed: the content term is a sum, about a million times larger.
    "literal": Convention(
        1.0,
        1e9,
        0.0,
        content_factor=0.5,
        content_sum=True,
        style_factor=0.25,
        layers_share=True,
        normalised=True,
        smoothness=SMOOTHNESS,
    ),
    # Gatys' PyTorch notebook: C + sum_l 1e3/N_l^2 S_l.
    "notebook": Convention(1.0, 1e3, 0.0, style_per_channel=True),
    # Johnson's neural-style: 5 C + sum_l 1e2/N_l^2 S_l + 1e-3 V (V only in his gradient; in the loss here).
    "johnson": Convention(5.0, 1e2, 1e-3, style_per_channel=True, variation_sum=True),
    # Champandard (2016): 10 C + 25 to 250 times the patches' differences, both averaged as in his code.
    "champandard2016": Convention(10.0, 50.0, 0.0),
}
