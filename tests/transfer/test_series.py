import numpy as np
import problems
from problems import problem

from nst_jax.transfer import memory, program
from nst_jax.transfer.series import Series


def test_a_series_gives_what_its_problems_give_alone(pair, network):
    content, style = pair
    posed = [problem((content * share, style), network) for share in (1.0, 0.9, 0.8)]
    alone = [problems.solve(each).image for each in posed]
    series = Series()
    found = [series.begun(posed[0]).image, *(series.gone_on(each).image for each in posed[1:])]
    np.testing.assert_array_equal(np.stack(found), np.stack(alone))


def test_how_a_series_fits_is_found_out_once(pair, network, monkeypatch):
    fitted, fit = [], memory.fit
    monkeypatch.setattr(memory, "fit", lambda *args: fitted.append(1) or fit(*args))
    series, seen = Series(), []
    for strength in (0.4, 0.5, 0.6):
        series.gone_on(problem(pair, network, {"style.strength": strength}))
        seen.append(program._compiled.cache_info().misses)
    assert len(fitted) == 1
    assert len(set(seen)) == 1
    series.gone_on(problem(pair, network, {"style.layers": ("conv1_1",)}))
    assert len(fitted) == 2
