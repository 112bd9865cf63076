"""What kind of file a path names."""

from __future__ import annotations

import pytest

from aiex.code import FileKind, kind_of

KINDS: dict[FileKind, list[str]] = {
    "code": [
        *("src/a.py", "lib/shop/cart.ex", "pkg/x.go", "web/App.vue", "a.rb", "src/latest.ts"),
        *("src/contest.py", "src/testament.rs", "lib/protest/a.ex", "app/specials/menu.java"),
    ],
    "test": [
        *("tests/a.py", "test/cart_test.exs", "pkg/x_test.go", "src/a.test.ts", "src/a.spec.tsx"),
        *("src/test/java/FooTest.java", "test_a.py", "conftest.py", "src/__tests__/a.js"),
        *("spec/models/a_spec.rb", "crates/a/tests/b.rs", "src/tests.rs", "FooIT.java"),
    ],
    "example": ["examples/a.py", "demo/x.go", "bench/a.py", "pkg/benchmarks/b.rs"],
    "generated": [
        *("dist/a.js", "web/a.min.js", "package-lock.json", "yarn.lock", "api/x.pb.go"),
        *("x_pb2.py", "go.sum", "third_party/a.c", "priv/static/app.js", "logo.svg"),
    ],
    "prose": ["README", "README.md", "docs/a.py", "CHANGELOG.rst", "LICENSE", "a.txt", "x.html"],
    "config": ["a.toml", ".github/workflows/ci.yml", "Makefile", "a.json", "install.sh"],
}


@pytest.mark.parametrize(("kind", "path"), [(k, p) for k, paths in KINDS.items() for p in paths])
def test_a_path_has_its_kind(kind: FileKind, path: str) -> None:
    assert kind_of(path) == kind
