from pathlib import Path

import pytest

from greendock.proxy.template import TemplateError, render


def files(root: Path, **texts: str) -> Path:
    for name, text in texts.items():
        file = root / name.replace("__", "/").replace("_conf", ".conf")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return root


def test_values_fill_the_template_and_nginx_variables_stay(tmp_path: Path) -> None:
    root = files(tmp_path, a_conf='set $x "${A}${inner}$host";\n')
    assert render(root, "a.conf", {"A": "1"}, {}) == 'set $x "1${inner}$host";\n'


def test_a_value_that_nobody_supplies_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TemplateError, match=r"a\.conf: no such value: \$\{MISSING\}"):
        render(files(tmp_path, a_conf="x ${MISSING};"), "a.conf", {}, {})


def test_a_value_cannot_bring_in_another_value_or_an_include(tmp_path: Path) -> None:
    root = files(tmp_path, a_conf="include b/*.conf;\n${A}\n", b__b_conf="${A}\n")
    rendered = render(root, "a.conf", {"A": "${B}\ninclude b/*.conf;", "B": "no"}, {})
    assert rendered.count("${B}") == 2
    assert rendered.count("include b/*.conf;") == 2


def test_an_include_brings_the_files_in_order_and_indented(tmp_path: Path) -> None:
    root = files(tmp_path, a_conf="{\n    include b/*.conf;\n}\n", b__2_conf="two;\n", b__1_conf="one;\n")
    assert render(root, "a.conf", {}, {}) == "{\n    # b/1.conf\n    one;\n\n    # b/2.conf\n    two;\n}\n"


def test_a_value_of_several_lines_is_indented(tmp_path: Path) -> None:
    assert render(files(tmp_path, a_conf="  ${A}\n"), "a.conf", {"A": "x;\ny;"}, {}) == "  x;\n  y;\n"


@pytest.mark.parametrize(("condition", "counts"), [("tls", True), ("!tls", False), ("h3", False), ("!h3", True)])
def test_lines_count_only_under_their_condition(tmp_path: Path, condition: str, counts: bool) -> None:
    root = files(tmp_path, a_conf=f"a;\n  #if {condition}\n  x;\n  #end\nz;\n")
    kept = "a;\n  x;\nz;\n" if counts else "a;\nz;\n"
    assert render(root, "a.conf", {}, {"tls": True, "h3": False}) == kept


@pytest.mark.parametrize(("tls", "h3", "kept"), [(True, True, "1;2;"), (True, False, "1;"), (False, True, "")])
def test_conditions_nest(tmp_path: Path, tls: bool, h3: bool, kept: str) -> None:
    root = files(tmp_path, a_conf="#if tls\n1;\n#if h3\n2;\n#end\n#end\n")
    assert render(root, "a.conf", {}, {"tls": tls, "h3": h3}).replace("\n", "") == kept


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#if missing\n#end\n", "no such condition: missing"),
        ("#if tls\n", "#if without #end"),
        ("#end\n", "#end without #if"),
        ("include missing/*.conf;\n", r"nothing to include: missing/\*\.conf"),
        ("include a.conf;\n", "nested more than"),
    ],
)
def test_a_broken_template_is_named(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(TemplateError, match=reason):
        render(files(tmp_path, a_conf=text), "a.conf", {}, {"tls": True})


def test_an_absolute_include_is_left_to_nginx(tmp_path: Path) -> None:
    assert render(files(tmp_path, a_conf="include /x/*.conf;\n"), "a.conf", {}, {}) == "include /x/*.conf;\n"
