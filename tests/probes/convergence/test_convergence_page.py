"""The page, as a browser draws it."""

import json
import re
import shutil
import subprocess
from itertools import combinations
from pathlib import Path

import pytest

from probes.convergence.table import Row
from probes.report.convergence import convergence_page
from probes.report.measured import short_names
from probes.report.pairs import _map

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
OFFLINE = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--enable-logging=stderr",
]
MEASURE = """<script>
const seen = [...document.querySelectorAll("svg")].map(svg => {
  const box = svg.getBoundingClientRect();
  const lines = [...svg.querySelectorAll("path")].filter(path => path.getBoundingClientRect().width > 2);
  return {label: svg.getAttribute("aria-label"), width: box.width, height: box.height, drawn: lines.length};
});
document.title = JSON.stringify(seen);
</script>"""
BREAK = '<script>console.error("broken on purpose"); undefined.nothing</script>'


def measured() -> list[Row]:
    """Two runs at three checkpoints and the state: everything that the page can show."""
    rows = []
    for one, other in (("a", "b"), ("a", "state"), ("b", "state")):
        for metric in ("mutual_knn", "cka"):
            for share in (0, 50, 100):
                value = 0.1 + share / 200
                rows.append(
                    Row("alignment", metric, one, share * 7, share, "2", other, share * 7, "1", value, 0.05, 0.01, 9.0)
                )
                rows[-1] = rows[-1]._replace(p=0.005, effect=value - 0.05, low=value - 0.02, high=value + 0.02, n=300)
            for i in range(3):
                for j in range(2):
                    cell = Row("layers", metric, one, 700, 100, str(i), other, 700, str(j), 0.1 * i + 0.05 * j)
                    rows.append(cell._replace(effect=0.1 * i + 0.05 * j, n=300))
        for k in (5, 10, 20):
            rows.append(Row("k sweep", "mutual_knn", one, other=other, value=0.3, null=k / 299, n=300, k=k))
        for n in (75, 150, 300):
            rows.append(Row("n sweep", "mutual_knn", one, other=other, value=30 / n, null=10 / n, n=n, k=10))
    for model in ("a", "b"):
        for share in (0, 50, 100):
            rows.append(Row("probe", "position", model, share, share, "2", value=share / 100, n=99))
            rows.append(Row("health", "rankme", model, share, share, "2", value=3 + share, n=99))
        rows.append(Row("probe", "position", model, 100, 100, "1", value=0.4, n=99))
        rows += [Row("spectrum", "eigenvalue", model, 100, 100, "2", value=1 / i, rank=i) for i in range(1, 9)]
    rows.append(Row("probe", "position", "state", value=1.0, layer="latent", n=99))
    return rows


def opened(page: str, folder: Path) -> tuple[list[dict[str, object]], list[str]]:
    """What a browser without a network draws, and what its console complains of."""
    assert BROWSER
    path = folder / "page.html"
    path.write_text(page.replace("</body>", f"{MEASURE}</body>"), encoding="utf-8")
    ran = subprocess.run(
        [BROWSER, *OFFLINE, f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True,
        text=True,
        timeout=120,
    )
    title = re.search(r"<title>(.*?)</title>", ran.stdout, re.S)
    assert title, ran.stderr
    return json.loads(title[1]), [line for line in ran.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
def test_a_browser_without_a_network_draws_every_chart_and_does_not_complain(tmp_path: Path) -> None:
    fields = {"warnings": ["few samples: 300"], "config": {"data": "shards"}}
    page = convergence_page("Two encoders", measured(), fields)
    charts, complaints = opened(page, tmp_path)
    assert complaints == []
    labels = ["mutual_knn", "cka", "layer maps of mutual kNN", "layer maps of CKA (linear, unbiased)"]
    labels += ["neighbours k", "samples n", "probes over training", "probes by layer", "spectra"]
    assert [chart["label"] for chart in charts] == labels
    for chart in charts:
        assert chart["width"] > 150 and chart["height"] > 100 and chart["drawn"] > 5, chart
    _, complaints = opened(page.replace("</body>", f"{BREAK}</body>"), tmp_path)
    assert len(complaints) >= 2


def test_the_page_needs_no_other_file_and_says_what_was_measured() -> None:
    rows = measured()
    rows[0] = rows[0]._replace(model="<script>alert(1)</script>")
    page = convergence_page("Two encoders", rows, {"warnings": ["few <b>samples</b>"], "config": {"seed": 7}})
    assert not re.search(r'(src|href)="(?!#|data:)', page) and "<script" not in page and "<b>samples" not in page
    assert "few &lt;b&gt;samples" in page and "seed: 7" in page
    text = re.sub(r"<[^>]+>", " ", page)
    # Effect .55, p .005 of the maximum; by Holm over three pairs of models.
    assert re.search(r"0\.600\s+0\.580 to 0\.620\s+0\.050\s+0\.550\s+9\.0\s+0\.015", text)


def test_the_best_cell_of_a_layer_map_is_the_highest() -> None:
    cells = [
        Row("layers", "cka", "a", layer=str(i), other="b", other_layer=str(j), effect=e)
        for (i, j), e in {(0, 0): 0.1, (0, 1): 0.7, (1, 0): 0.2, (1, 1): 0.3}.items()
    ]
    drawn = _map(("a", "b"), cells)
    assert drawn.best == (0, 1) and drawn.values == [[0.1, 0.7], [0.2, 0.3]]


def test_models_are_named_by_what_tells_them_apart() -> None:
    models = ["runs/one/x", "runs/two/x", "runs/two/y:text", "state", "x", "/far/away/runs/z@teacher"]
    assert list(short_names(models).values()) == ["one/x", "two/x", "y:text", "state", "x", "z@teacher"]
    long = "open_clip:ViT-B-32-and-much-more:laion2b_s34b_b79k"
    assert len(short_names([long])[long]) < 35
    twins = [f"{'a' * 30}{middle}{'b' * 30}" for middle in "xy"]
    assert list(short_names(twins).values()) == twins


def test_of_many_pairs_the_most_alike_are_shown_and_the_others_folded() -> None:
    names = [f"a/long/path/of/runs/{name}" for name in "abcdefg"]
    rows = [
        Row("alignment", "cka", one, share, share, "2", other, share, "1", 0.5, 0.0, 0.01, 9.0, 0.005, i / 30)
        for i, (one, other) in enumerate(combinations(names, 2))
        for share in (0, 100)
    ]
    rows = [row._replace(low=0.4, high=0.6, n=300) for row in rows]
    page = convergence_page("Seven", rows, {})
    shown, folded = page.split("<details><summary>9 more</summary>")
    assert shown.count("f × g</text>") == 1 and "a × b</text>" not in shown and "a × b</text>" in folded
    # Nothing reaches the level once 21 pairs are paid for: 21 x .005.
    assert shown.count(">0.105<") == 21 and "long/path" not in page
    # .005 is the least that 199 permutations can tell, so p may be smaller; of 999, four would have come as high.
    for permutations, bounds in ((199, 21), (999, 0)):
        assert convergence_page("Seven", rows, {"config": {"permutations": permutations}}).count(">≤ 0.105<") == bounds


def test_two_checkpoints_at_one_share_are_no_failure() -> None:
    rows = [
        Row("alignment", "cka", "a", step, share, "2", "b", step, "1", step / 100, 0.0, 0.01, 9.0, 0.005, 0.5)
        for step, share in ((0, 0), (1, 0), (90, 100))
    ]
    assert "cka" in convergence_page("Two", rows, {})


def test_a_legend_of_many_long_names_leaves_room_for_the_chart() -> None:
    # matplotlib warns where nothing is left of the axes, and warnings are errors.
    rows = [
        Row("spectrum", "eigenvalue", f"{'name ' * 5}{model}", value=1 / rank, rank=rank, layer="latent")
        for model in range(10)
        for rank in range(1, 9)
    ]
    page = convergence_page("Ten", rows, {})
    height = float(re.search(r'<svg[^>]* height="([0-9.]+)pt"', page)[1])
    assert height > 72 * (1.85 + 10 * 0.17)
