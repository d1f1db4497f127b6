"""`cptools page`: a folder of results as one page that needs nothing else."""

import base64
import json
import os
import re
from html.parser import HTMLParser

import pytest

from cptools.reports.html import picture
from cptools.reports.markdown import Table, Text, read_markdown
from cptools.reports.page import _natural

VOID = {"meta", "img"}
PAST = [
    {"tool": "cp-dataset", "version": "0", "parameters": {"input": "shapes"}, "inputs": {}},
    {"tool": "cp-pretrain", "version": "0", "parameters": {"alg": "moco", "seed": 0}, "inputs": {}},
]


class Page(HTMLParser):
    """The elements of a page; every one is closed, in the right order."""

    def __init__(self, data):
        super().__init__()
        self.tags, self.open, self.words = [], [], []
        self.feed(data.decode())
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] != "style":
            self.words.append(data)

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def text(self):
        return "".join(self.words)


def write(folder, name, *accuracies, past=PAST, **facts):
    """One report per seed, each trained with its own seed; names of the files."""
    paths = []
    for seed, accuracy in enumerate(accuracies):
        history = json.loads(json.dumps(past).replace('"seed": 0', f'"seed": {seed}'))
        line = {
            "accuracy_percent": accuracy, "low_percent": accuracy - 2,
            "high_percent": accuracy + 2, "settings": {"method": "lbfgs", "seed": seed},
            "history": history, **facts,
        }  # fmt: skip
        paths.append(folder / f"{name}-{seed}.jsonl")
        paths[-1].write_text(json.dumps(line) + "\n")
    return paths


@pytest.fixture
def results(tool, tmp_path):
    """Two tables by the tools themselves, a figure, and an introduction."""
    paper = tmp_path / "paper.json"
    paper.write_text(json.dumps({"clean.moco": 85, "cp.moco": 50, "cp.simclr": 61}))
    folder = tmp_path / "out"
    folder.mkdir()
    paths = [
        *write(folder, "clean.moco", 84, 86), *write(folder, "cp.moco", 70, 71),
        *write(folder, "cp.simclr", 60, 62),
    ]  # fmt: skip
    done = tool("cptools", "report", "--grid", "--paper", paper, *paths)
    assert done.code == 0
    (folder / "table10.md").write_bytes(done.out)
    alone = write(folder, "mc", 75)
    (folder / "table2.md").write_bytes(tool("cptools", "report", *alone).out)
    assert tool("cp-visualize", *alone, "--dpi", 96, "-o", folder / "table2.png").code == 0
    (folder / "README.md").write_text("# Ignored\n\nWhat was done.\n")
    return folder


def test_page_of_tables_and_pictures(tool, results):
    done = tool("cptools", "page", results)
    assert (done.code, done.err) == (0, "")
    assert tool("cptools", "page", results).out == done.out
    page = Page(done.out)
    assert [section["id"] for section in page.all("section")] == ["README", "table2", "table10"]
    assert [link["href"] for link in page.all("a")] == ["#table2", "#table10"]
    assert re.findall(r"<h[12]>(.*)</h[12]>", done.out.decode()) == ["out", "Table 2", "Table 10"]
    assert "What was done." in page.text
    cells = re.findall(r"<t[hd][^>]*>([^<]*)</t[hd]>", done.out.decode())
    assert {"85.0 (72.3 to 97.7)", "61.0 (48.3 to 73.7)", "73.0 to 77.0"} <= set(cells)
    (image,) = page.all("img")
    kind, data = image["src"].split(";base64,")
    assert kind == "data:image/png"
    assert base64.b64decode(data) == (results / "table2.png").read_bytes()


def test_page_needs_nothing_else(tool, results):
    done = tool("cptools", "page", results)
    page = Page(done.out)
    names = {name for name, _ in page.tags}
    assert not names & {"script", "link", "iframe", "object", "base"}
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
        assert attributes.get("href", "#").startswith("#")
    assert not re.search(rb"https?:|@import|url\(", done.out)
    (policy,) = [m["content"] for m in page.all("meta") if "http-equiv" in m]
    assert policy.startswith("default-src 'none';")
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in page.all(
        "meta"
    )
    assert b"prefers-color-scheme: dark" in done.out
    tables = page.all("table")
    boxes = [box for box in page.all("div") if box.get("class") == "box"]
    assert len(tables) == len(boxes) == 3
    assert all(box["tabindex"] == "0" for box in boxes)


def test_agreement_is_that_of_the_report_and_marks_what_it_counts(tool, results):
    text = tool("cptools", "page", results).out.decode()
    told = (results / "table10.md").read_text().splitlines()[-1]
    assert told.startswith("Values of the paper: 3; in our interval: 2; Spearman's rank corr")
    (line,) = re.findall(r'<tr><th scope="row"><a href="#table10">.*', text)
    cells = re.findall(r"<td>(.*?)</td>", line)
    assert cells == ["3", "2", told.removesuffix(".").split(": ")[-1], ""]
    assert re.findall(r'<td class="held">(.*?)</td>', text) == ["85.0 \u2713", "61.0 \u2713"]
    (line,) = re.findall(r'<tr><th scope="row"><a href="#table2">.*', text)
    assert re.findall(r"<td>(.*?)</td>", line) == ["", "", "", ""]


def test_the_order_of_pairs_stands_in_the_contents(tool, tmp_path):
    text = "Values of the paper: 4; in our interval: 0.\n\n"
    pairs = (
        "Pairs whose intervals do not overlap: 3; in the paper's order: 2. Against it: a (1 of 1)."
    )
    for name, order in (("table1", pairs), ("table2", ""), ("table3", "other")):
        (tmp_path / f"{name}.md").write_text(text + order)
    lines = re.findall(
        r'<tr><th scope="row"><a href="#table.*', tool("cptools", "page", tmp_path).out.decode()
    )
    ends = [re.findall(r"<td>(.*?)</td>", line)[-1] for line in lines]
    assert ends == ["2 of 3", "", ""]


def test_of_differences_those_are_marked_that_are_counted(tool, tmp_path):
    paper, folder = tmp_path / "paper.json", tmp_path / "out"
    paper.write_text(json.dumps({"clean": 85, "cp": 70, "noise": 50}))
    folder.mkdir()
    paths = [
        *write(folder, "clean", 84, 86), *write(folder, "cp", 70, 71),
        *write(folder, "noise", 84, 85),
    ]  # fmt: skip
    done = tool("cptools", "report", "--against", "clean", "--paper", paper, *paths)
    (folder / "table.md").write_bytes(done.out)
    assert b"Values of the paper: 2; in our interval: 1." in done.out
    text = tool("cptools", "page", folder).out.decode()
    assert re.findall(r'<td class="held">(.*?)</td>', text) == ["-15.0 \u2713"]
    (folder / "table.md").write_bytes(tool("cptools", "report", "--paper", paper, *paths).out)
    text = tool("cptools", "page", folder).out.decode()
    assert re.findall(r'<td class="held">(.*?)</td>', text) == ["85.0 \u2713", "70.0 \u2713"]


def test_histories_are_closed_and_tell_seeds_once(tool, results):
    page = Page(tool("cptools", "page", results).out)
    text = page.text
    assert all("open" not in details for details in page.all("details"))
    assert "clean.moco 84.0, 86.0" in text
    made = "cp-dataset shapes |\n  cp-pretrain --alg moco --seed 0 |\n  cp-probe --method lbfgs --seed 0"  # fmt: skip # noqa: E501
    assert text.count(made) == 4  # conditions
    assert "--seed 1" not in text
    assert "clean.moco-0.jsonl, clean.moco-1.jsonl: alike but for seeds. The first:" in text
    assert "mc-0.jsonl:" in text
    assert "How it was made (3 conditions)" in text
    assert "How it was made (1 condition)" in text


def test_what_differs_in_more_than_the_seed_is_told_twice(tool, tmp_path):
    first, second = write(tmp_path, "clean", 84, 86)
    second.write_text(second.read_text().replace("moco", "byol"))
    (tmp_path / "a.md").write_bytes(tool("cptools", "report", first, second).out)
    text = Page(tool("cptools", "page", tmp_path).out).text
    assert text.index("clean-0.jsonl:") < text.index("--alg moco") < text.index("clean-1.jsonl:")
    assert text.index("clean-1.jsonl:") < text.index("--alg byol")


def test_reports_are_looked_for_near_the_table(tool, tmp_path):
    for folder in ("table8/deep", "other"):
        (tmp_path / folder).mkdir(parents=True)
    for folder, accuracy in (("table8/deep", 11), ("", 22), ("other", 33)):
        write(tmp_path / folder, "none.clean", accuracy)
    write(tmp_path / "other", "mc.clean", 44)
    table = "| | clean |\n| --- | --- |\n| none | 1 |\n| mc | 2 |\n| gone | 3 |\n"
    (tmp_path / "table8.md").write_text(table)
    (tmp_path / "table9.md").write_text(table)
    text = Page(tool("cptools", "page", tmp_path).out).text
    eighth, ninth = text.split("Table 9")[-2:]
    assert "none.clean 11.0" in eighth
    assert "table8/deep/none.clean-0.jsonl:" in eighth
    assert "\nnone.clean-0.jsonl:" in ninth
    assert "none.clean 22.0" in ninth
    assert text.count("mc.clean 44.0") == 2
    assert "33.0" not in text
    assert "gone." not in text


def test_audits_and_reports_without_history(tool, tmp_path):
    paths = []
    for seed, score in enumerate((0.5, 3)):
        paths.append(tmp_path / f"benign-{seed}.jsonl")
        paths[-1].write_text(json.dumps({"verdict": "noisy", "score": score}) + "\n")
    (tmp_path / "audit.md").write_bytes(tool("cptools", "report", *paths).out)
    page = Page(tool("cptools", "page", tmp_path).out)
    assert "benign 0.5, 3.0" in page.text
    assert not page.all("pre")


def test_two_reports_in_a_file_are_rows_of_their_own(tool, tmp_path):
    first, second = write(tmp_path, "clean", 84, 86, dataset="a")
    lines = [{**json.loads(p.read_text()), "dataset_sha256": p.stem[::-1]} for p in (first, second)]
    second.unlink()
    first.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (tmp_path / "table2.md").write_bytes(tool("cptools", "report", first).out)
    text = Page(tool("cptools", "page", tmp_path).out).text
    assert "clean on a 0-nael 84.0" in text
    assert "clean on a 1-nael 86.0" in text


BAD = '<script>alert("1")</script>&'


def test_everything_is_escaped(tool, tmp_path):
    past = [{**PAST[0], "parameters": {"input": BAD}}]
    write(tmp_path, "a&b.<i>", 84, past=past)
    (tmp_path / "x<b>&amp;.md").write_text(
        f"# {BAD}\n\n## {BAD}\n\n{BAD}\n\n| | <i> |\n| --- | --- |\n| a&b | {BAD} |\n"
    )
    (tmp_path / "<u>.svg").write_text(f"<svg>{BAD}</svg>")
    done = tool("cptools", "page", tmp_path, "--title", BAD)
    assert (done.code, done.err) == (0, "")
    page = Page(done.out)
    assert not {"script", "i", "u", "svg"} & {name for name, _ in page.tags}
    assert page.text.count(BAD) >= 6
    assert "cp-dataset " in page.text
    assert page.all("a")[0]["href"] == "#%3Cu%3E"


def test_names_that_are_not_unicode(tool, tmp_path):
    try:
        (tmp_path / os.fsdecode(b"\xff.md")).write_text("text")
        (tmp_path / "a.md").write_text("text")
    except OSError:
        pytest.skip("the file system refuses such names")
    done = tool("cptools", "page", tmp_path)
    assert (done.code, done.err) == (0, "")
    assert rb"<h2>\udcff</h2>" in done.out


def test_page_appears_whole_or_not_at_all(tool, results, tmp_path):
    target = tmp_path / "report.html"
    done = tool("cptools", "page", results, "-o", target, "--title", "Mine")
    assert (done.code, done.out, done.err) == (0, b"", "")
    whole = target.read_bytes()
    assert b"<title>Mine</title>" in whole
    (results / "table2.png").write_bytes(b"JPEG")
    tool("cptools", "page", results, "-o", target).refused("table2.png is neither PNG nor SVG;")
    assert target.read_bytes() == whole
    (results / "table2.svg").write_text("<svg/>")  # is shown rather than a PNG
    assert tool("cptools", "page", results, "-o", target).code == 0
    assert b"data:image/svg+xml;base64," in target.read_bytes()


def test_refusals(tool, tmp_path):
    (tmp_path / "empty").mkdir()
    cases = {
        "empty": "empty contains no tables (.md) or figures (.png, .svg); make some",
        "nowhere": "nowhere is not a folder; give one with tables (.md) and figures (.png)",
    }
    for name, message in cases.items():
        tool("cptools", "page", tmp_path / name).refused(message)
    (tmp_path / "a.md").write_bytes(b"\xff")
    tool("cptools", "page", tmp_path).refused("a.md is not UTF-8 text; write it with cptools")
    (tmp_path / "a.md").write_text("| condition | x |\n| --- | --- |\n| clean | 1 |\n")
    (report,) = write(tmp_path, "clean", 84, past=[{"tool": "cp-dataset"}])
    tool("cptools", "page", tmp_path).refused(f"{report} has no valid history: ")
    write(tmp_path, "clean", 84, past="x")
    tool("cptools", "page", tmp_path).refused("has no valid history: it is not a list of commands;")
    report.write_text("text\n")
    tool("cptools", "page", tmp_path).refused(f"{report} contains no reports of cp-probe;")
    tool("cptools", "page", tmp_path, "-o", tmp_path / "no" / "a.html").refused(
        " contains no reports"
    )
    report.unlink()
    message = "there is no folder"
    tool("cptools", "page", tmp_path, "-o", tmp_path / "no" / "a.html").refused(message)


def test_markdown() -> None:
    text = "# A `b`\nb\nc\n\n| x | y |\n| --- | :-: |\n| 1 \\| 2_ |\n| *3* | 4 | 5 |\n\n"
    text += "#d\n| bar |\n"
    text += "```sh\n# no heading\n  cp-probe | x\n```\n- one\n- two `<b>`\n\n| x |\n| --- |\n"
    title, paragraph, table, bar, fenced, bullets, empty = read_markdown(text)
    assert title == Text("A `b`", 1, "<h3>A <code>b</code></h3>")
    assert paragraph == Text("b c", 0, "<p>b\nc</p>")
    assert (table.head, table.body) == (("x", "y"), (("1 | 2_", ""), ("*3*", "4")))
    assert table.html == (("x", "y"), ("1 | 2_", ""), ("<em>3</em>", "4"))
    assert bar.text == "#d | bar |"
    assert "# no heading\n  cp-probe | x\n</code></pre>" in fenced.html
    assert bullets.html == "<ul>\n<li>one</li>\n<li>two <code>&lt;b&gt;</code></li>\n</ul>"
    assert empty == Table(("x",), (), (("x",),))
    assert Table(("", "y"), (("a", "1"),), ()).names() == ["a.y"]
    assert Table(("x", "y"), (("a", "1"),), ()).names() == ["a"]


@pytest.mark.parametrize(
    "text",
    [
        "<script>x</script>",
        "a <img src=x> b",
        "[w](javascript:x)",
        "[w](https://a.org/)",
        "![w<script>](a.png)",
        "<https://a.org/>",
        "`<script>`",
    ],
)
def test_markdown_neither_loads_nor_runs_nor_links(text) -> None:
    block, table = read_markdown(f"{text}\n\n| {text} |\n| --- |\n| {text} |\n")
    assert isinstance(table, Table)
    cells = [cell for line in table.html for cell in line]
    assert not re.findall("<(?!/?(?:p|code)>)", " ".join([str(block.html), *cells]))


def test_names_are_in_natural_order() -> None:
    names = ["table10", "table2-b", "table2", "figure10", "figure4d", "figure4"]
    assert sorted(names, key=_natural) == names[::-1]


def test_a_picture_is_as_large_as_it_would_be_printed(tmp_path) -> None:
    from PIL import Image

    for dpi, size in ((192, 'width="50" height="25"'), (None, 'width="100" height="50"')):
        Image.new("RGB", (100, 50)).save(tmp_path / "a.png", **({"dpi": (dpi, dpi)} if dpi else {}))
        assert f" {size} " in picture((tmp_path / "a.png").read_bytes(), "a")
