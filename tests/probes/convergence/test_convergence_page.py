"""The page, as a browser draws it."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from probes.convergence.table import Row
from probes.report.convergence import convergence_page

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
    from probes.report.convergence import _map

    cells = [
        Row("layers", "cka", "a", layer=str(i), other="b", other_layer=str(j), effect=e)
        for (i, j), e in {(0, 0): 0.1, (0, 1): 0.7, (1, 0): 0.2, (1, 1): 0.3}.items()
    ]
    drawn = _map(("a", "b"), cells)
    assert drawn.best == (0, 1) and drawn.values == [[0.1, 0.7], [0.2, 0.3]]
