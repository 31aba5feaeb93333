import pytest

from samplemix_core.demo.machine_files import render_roff

PAGE = r""".\" A comment that is not part of the page.
.de IX
.tm Index:\\$1\t\\n%\t"\\$2"
..
.TH WEIGH 1 "2024-01-01"
.SH NAME
weigh \- print the weight of \fIfiles\fP
.SH SYNOPSIS
.B weigh
.RB [ \-\-exact ]
.I file
.SH "EXIT STATUS"
Ends with \(lqzero\(rq
if all is well.
.PP
A second
paragraph.
.nf
  line one
  line two
.fi
"""


def test_a_page_becomes_headings_and_filled_paragraphs() -> None:
    assert render_roff(PAGE) == (
        "NAME\nweigh - print the weight of files\n\nSYNOPSIS\nweigh [--exact] file\n\nEXIT STATUS\n"
        'Ends with "zero" if all is well.\n\nA second paragraph.\n\n  line one\n  line two'
    )


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (r"a \fBbold\fR and \f(CWmono\fP word", "a bold and mono word"),
        (r"\s-1SMALL\s0 words", "SMALL words"),
        (r"a backslash \e and a dash \-", "a backslash \\ and a dash -"),
        (r"it\(aqs \(em here", "it's - here"),
        (r".Op Fl a", "Fl a"),
        (r".if n .ad l", ""),
        (r".so man1/other.1", ""),
        ("", ""),
    ],
)
def test_escapes_and_requests(line: str, text: str) -> None:
    assert render_roff(line) == text
