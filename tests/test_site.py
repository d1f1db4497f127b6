"""The documentation site: man pages become Markdown; the build itself is on the test line."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

MAN = Path(__file__).parents[1] / "man"


@pytest.fixture(scope="module")
def roff():
    spec = spec_from_file_location("cptools_site_roff", MAN / "site" / "roff.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.modules.pop("cptools_site_roff", None)


def test_what_mkman_writes(roff):
    page = "\n".join([
        '.\\" Made by man/mkman.py', '.TH CP-X 1 "" "cptools 1" "manual"', ".SH NAME",
        "cp\\-x \\- do *this*", ".SH SYNOPSIS", "\\fBcp\\-x\\fR [\\fIINPUT\\fR]", ".br",
        "\\fBcp\\-x\\fR \\-", ".SH SEE ALSO", ".PP", "\\fBcp\\-y\\fR(1), \\fBa \\(ga b\\fR", ".PP",
        "\\&.hidden \\e \\(aqit\\(aq", ".TP", "\\fB\\-o\\fR \\fIFILE\\fR", "Write", "here.", ".PP",
        ".RS 4", ".EX", "cp\\-x | sh", ".EE", ".RE", ".PP", "End.",
    ])  # fmt: skip
    assert roff.markdown(page) == "\n\n".join([
        "# cp-x", "## Name", "cp-x - do \\*this\\*", "## Synopsis",
        "```text\ncp-x [INPUT]\ncp-x -\n```", "## See also", "[cp-y](cp-y.md), ``a ` b``",
        ".hidden \\\\ 'it'", "`-o` *FILE*\n: Write\nhere.", "```sh\ncp-x | sh\n```", "End.\n",
    ])  # fmt: skip


def test_another_request_is_an_error(roff):
    with pytest.raises(ValueError, match="no Markdown"):
        roff.markdown('.TH A 1 "" "" ""\n.SH NAME\n.so other')


@pytest.mark.parametrize("path", sorted(MAN.glob("*.1")), ids=lambda path: path.stem)
def test_a_page_keeps_its_sections_options_and_examples(roff, path):
    text, page = roff.markdown(path.read_text("utf-8")), path.read_text("utf-8")
    assert text.startswith(f"# {path.stem}\n")
    assert text.count("\n## ") == page.count("\n.SH ")
    assert text.count("\n```sh\n") == page.count("\n.EX\n")
    assert text.count("\n: ") == page.count("\n.TP\n")
    assert "\\f" not in text
