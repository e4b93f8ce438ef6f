"""What the HTML reports share: the document, its style, and tables."""

from collections.abc import Iterable, Sequence

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; margin: 2rem auto;
       max-width: 62rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }
th, td { text-align: right; padding: .28rem .8rem; border-bottom: 1px solid #e6e6e6;
         white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
figure { margin: .3rem 0; }
"""


def document(title: str, parts: Iterable[str], style: str = "", policy: str = "") -> str:
    """Returns a page of HTML.

    Args:
        title: of the window, escaped.
        parts: of the body, HTML; empty ones are left out.
        style: rules that are added to those that all reports have.
        policy: content security policy; empty: none.
    """
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">' if policy else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{meta}<title>{title}</title><style>{_STYLE}{style.lstrip()}</style></head><body>\n"
        + "\n".join(filter(None, parts))
        + "\n</body></html>\n"
    )


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a table of escaped texts; without heads, of rows only."""
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in heads) + "</tr>"] if heads else []
    lines += ["<tr>" + "".join(f"<td>{value}</td>" for value in row) + "</tr>" for row in rows]
    return f"<div class=wide><table>{''.join(lines)}</table></div>"
