"""Definitions of each language, on samples made of what tools get wrong."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from aiex.code import Language, read_facts

ORACLES = Path(__file__).resolve().parents[2] / "bench" / "oracles"

SAMPLES: dict[Language, tuple[str, list[tuple[str, str, int, int]]]] = {
    "python": (
        """\
import os
a, (B, *c) = x = 1, (2, 3)
if os.name:
    def f(): pass
else:
    @decorated
    def f(y):
        return y
        # said at the end
try:
    LIMIT = 1
except E:
    LIMIT = 2
for skipped in a:
    passing = 1
class C:
    z: int
    u = v = 0
    def __init__(self): self.w = 1
    async def m(self):
        inner = 2
        def g(): ...
""",
        [
            ("variable", "a", 2, 2),
            ("constant", "B", 2, 2),
            ("variable", "c", 2, 2),
            ("variable", "x", 2, 2),
            ("function", "f", 4, 4),
            ("function", "f", 6, 8),
            ("constant", "LIMIT", 11, 11),
            ("constant", "LIMIT", 13, 13),
            ("class", "C", 16, 22),
            ("field", "C.z", 17, 17),
            ("field", "C.u", 18, 18),
            ("field", "C.v", 18, 18),
            ("constructor", "C.__init__", 19, 19),
            ("method", "C.m", 20, 22),
            ("function", "C.m.g", 22, 22),
        ],
    ),
    "elixir": (
        '''\
defmodule A.B do
  @moduledoc """
      defmodule Fake do
        def fake, do: 1
      end
  """
  defstruct [:x]
  @spec total(t) :: t when t: integer
  def total(x) when x > 0, do: x
  def total(_) do
    0
  end
  defp a + b, do: a
  defmacro __using__(_) do
    quote do
      def unquote(name)(x), do: x
    end
  end
  defguard is_one(x) when x == 1
  def unquote(other)
end
defimpl P, for: A.B do
  def p(_), do: :ok
end
''',
        [
            ("module", "A.B", 1, 21),
            ("struct", "A.B.B", 7, 7),
            ("function", "A.B.total", 9, 9),
            ("function", "A.B.total", 10, 12),
            ("function", "A.B.+", 13, 13),
            ("macro", "A.B.__using__", 14, 18),
            ("function", "A.B.__using__.unquote(name)", 16, 16),
            ("macro", "A.B.is_one", 19, 19),
            ("function", "A.B.unquote(other)", 20, 20),
            ("implementation", "P.A.B", 22, 24),
            ("function", "P.A.B.p", 23, 23),
        ],
    ),
    "javascript": (
        """\
const f = () => 1, LIMIT = 2;
export default function () {}
exports.g = function named(x) {
  app.hidden = function () {};
};
A.prototype.m = async (x) => x;
class B extends A {
  #p = 1;
  handler = () => {};
  static async *[Symbol.iterator]() {}
  get x() { return { notOne() {} }; }
}
const { taken } = B;
let K = class extends B { y = 1; };
""",
        [
            ("function", "f", 1, 1),
            ("constant", "LIMIT", 1, 1),
            ("function", "default", 2, 2),
            ("function", "g", 3, 5),
            ("method", "A.m", 6, 6),
            ("class", "B", 7, 12),
            ("field", "B.#p", 8, 8),
            ("method", "B.handler", 9, 9),
            ("method", "B.[Symbol.iterator]", 10, 10),
            ("method", "B.x", 11, 11),
            ("class", "K", 14, 14),
            ("field", "K.y", 14, 14),
        ],
    ),
    "typescript": (
        """\
interface Get<E> {
  <K extends keyof E>(key: K): E[K]
  <K extends string>(key: K): E
  named(x: { nested(): void }): void
}
function over(x: string): void;
function over(x: number): void;
function over(x: any) {}
export abstract class C<T extends object = {}> {
  constructor(private readonly x: T) {}
  abstract m<U>(u: U): Map<T, U>;
}
export default () => 1;
declare module "m" { const hidden: number; type T = number }
enum E { A }
""",
        [
            ("interface", "Get", 1, 5),
            ("method", "Get.named", 4, 4),
            ("function", "over", 6, 6),
            ("function", "over", 7, 7),
            ("function", "over", 8, 8),
            ("class", "C", 9, 12),
            ("constructor", "C.constructor", 10, 10),
            ("method", "C.m", 11, 11),
            ("function", "default", 13, 13),
            ("namespace", "m", 14, 14),
            ("type", "m.T", 14, 14),
            ("enum", "E", 15, 15),
        ],
    ),
    "go": (
        """\
package p
type (
	Pair[K comparable, V any] struct{ k K }
	Reader interface {
		Read(p []byte) (int, error)
	}
)
var _ Reader = nil
var a, B = func() int { var local = 1; return local }(), 2
func (p *Pair[K, V]) Get() V {
	type inner struct{}
	const hidden = 1
}
func Map[T, U any](x T, f func(T) U) U { return f(x) }
func _() {}
""",
        [
            ("struct", "Pair", 3, 3),
            ("interface", "Reader", 4, 6),
            ("method", "Reader.Read", 5, 5),
            ("variable", "a", 9, 9),
            ("variable", "B", 9, 9),
            ("method", "Pair.Get", 10, 13),
            ("struct", "Pair.Get.inner", 11, 11),
            ("function", "Map", 14, 14),
        ],
    ),
    "rust": (
        """\
/// Text.
#[derive(Debug)]
pub struct S<T>(T);
impl<T: Fn() -> u8> Tr for a::S<Vec<T>> {
    const K: u8 = 1;
    type Out = u8;
    #[inline]
    fn m(&self) { fn inner() {} }
}
macro_rules! make { ($n:ident) => { fn $n() { fn hidden() {} } }; }
cfg_rt! {
    pub fn spawned() {}
    mod deep { struct In; }
}
make!(ready);
trait Tr { type Out; fn m(&self); }
""",
        [
            ("struct", "S", 2, 3),
            ("constant", "a.S.K", 5, 5),
            ("type", "a.S.Out", 6, 6),
            ("method", "a.S.m", 7, 8),
            ("function", "a.S.m.inner", 8, 8),
            ("macro", "make", 10, 10),
            ("function", "spawned", 12, 12),
            ("module", "deep", 13, 13),
            ("struct", "deep.In", 13, 13),
            ("trait", "Tr", 16, 16),
            ("type", "Tr.Out", 16, 16),
            ("method", "Tr.m", 16, 16),
        ],
    ),
    "java": (
        """\
@interface Mark { int value() default 1; }
record Point(int x, int y) implements P {
  static final int ZERO = 0;
  Point { check(x); }
}
interface I { int LIMIT = 1; }
enum E {
  A { int hidden; void f() {} };
  int field;
  void g() {
    new Object() { int hidden; void h() {} };
    class Local { int z; }
  }
}
""",
        [
            ("annotation", "Mark", 1, 1),
            ("method", "Mark.value", 1, 1),
            ("record", "Point", 2, 5),
            ("constant", "Point.ZERO", 3, 3),
            ("constructor", "Point.Point", 4, 4),
            ("interface", "I", 6, 6),
            ("constant", "I.LIMIT", 6, 6),
            ("enum", "E", 7, 14),
            ("method", "E.f", 8, 8),
            ("field", "E.field", 9, 9),
            ("method", "E.g", 10, 13),
            ("method", "E.g.h", 11, 11),
            ("class", "E.g.Local", 12, 12),
            ("field", "E.g.Local.z", 12, 12),
        ],
    ),
    "cpp": (
        """\
#define NAME_API
#define NAME_BEGIN
#define NAME_LOCKS(x)
#define NAME_ENABLE_IF(x) int = 0
#define TEST(suite, name) void suite##name()
NAME_BEGIN
namespace a::b {
struct Base {};
class NAME_API Thing final : public Base {
 public:
  Thing(const Thing&) = delete;
  ~Thing() {}
  NAME_API int get() const { return 1; }
  void declared();
  int locked() NAME_LOCKS(mu) { return 1; }
  static NAME_API auto made() -> int { return 1; }
  NAME_LOCKS(1)
  int NAME_API called(int x) { return x; }
  inline friend bool operator == (const Thing&, const Thing&) { return true; }
  operator const char*() const { return ""; }
};
template <typename T, NAME_ENABLE_IF(sizeof(T) > 1)> struct Box { T t; };
#ifdef _WIN32
int cut(long x) {
#else
int cut(int x) {
#endif
  return x;
}
}
#ifdef __cplusplus
extern "C" {
#endif
void in_c() {}
#ifdef __cplusplus
}
#endif
void a::b::Thing::declared() {}
using Alias = int;
typedef int (*Handler)(int);
TEST(Suite, Name) { struct Local {}; }
""",
        [
            ("constant", "NAME_API", 1, 1),
            ("constant", "NAME_BEGIN", 2, 2),
            ("macro", "NAME_LOCKS", 3, 3),
            ("macro", "NAME_ENABLE_IF", 4, 4),
            ("macro", "TEST", 5, 5),
            ("namespace", "a.b", 7, 30),
            ("struct", "a.b.Base", 8, 8),
            ("class", "a.b.Thing", 9, 21),
            ("constructor", "a.b.Thing.Thing", 11, 11),
            ("method", "a.b.Thing.~Thing", 12, 12),
            ("method", "a.b.Thing.get", 13, 13),
            ("method", "a.b.Thing.locked", 15, 15),
            ("method", "a.b.Thing.made", 16, 16),
            ("method", "a.b.Thing.called", 18, 18),
            ("function", "a.b.operator==", 19, 19),
            ("method", "a.b.Thing.operator const char*", 20, 20),
            ("struct", "a.b.Box", 22, 22),
            ("function", "a.b.cut", 26, 29),
            ("function", "in_c", 34, 34),
            ("method", "a.b.Thing.declared", 38, 38),
            ("type", "Alias", 39, 39),
            ("type", "Handler", 40, 40),
            ("function", "TEST", 41, 41),
            ("struct", "TEST.Local", 41, 41),
        ],
    ),
}


def found_in(source: str, language: Language) -> list[tuple[str, str, int, int]]:
    facts = read_facts(source.encode(), language)
    return [(s.kind, s.qualified_name, s.start_line, s.end_line) for s in facts.symbols]


@pytest.mark.parametrize("language", SAMPLES)
def test_what_tools_get_wrong_is_read_right(language: Language) -> None:
    source, wanted = SAMPLES[language]

    assert sorted(found_in(source, language), key=str) == sorted(wanted, key=str)


NODE_PATH = os.pathsep.join(
    [os.environ.get("NODE_PATH", ""), str(ORACLES.parents[1] / "node_modules")]
)
RUST = os.environ.get("AIEX_RUST_ORACLE", "aiex-rust-oracle")


def missing_for(language: Language) -> str | None:
    """Return what is not installed of what the oracle of *language* needs."""
    programs = {"python": sys.executable, "cpp": sys.executable, "rust": RUST}
    ecmascript = language in {"javascript", "typescript", "tsx"}
    program = "node" if ecmascript else programs.get(language, language)
    if shutil.which(program) is None:
        return program
    if language == "cpp" and importlib.util.find_spec("clang") is None:
        return "libclang"
    if ecmascript:
        found = subprocess.run(
            ["node", "-e", "require('typescript')"],
            env={**os.environ, "NODE_PATH": NODE_PATH},
            capture_output=True,
            check=False,
            timeout=60,
        )
        return "typescript for node" if found.returncode else None
    return None


@pytest.mark.parametrize(
    ("language", "suffix", "argv"),
    [
        ("python", "py", [sys.executable, "python.py"]),
        ("elixir", "exs", ["elixir", "elixir.exs"]),
        ("javascript", "js", ["node", "ecmascript.js"]),
        ("typescript", "ts", ["node", "ecmascript.js"]),
        ("go", "go", ["go", "run", "golang.go"]),
        ("rust", "rs", [RUST]),
        ("java", "java", ["java", "Symbols.java"]),
        ("cpp", "cc", [sys.executable, "cpp.py"]),
    ],
)
def test_a_real_parser_agrees_with_the_samples(
    tmp_path: Path, language: Language, suffix: str, argv: list[str]
) -> None:
    missing = missing_for(language)
    if missing is not None:
        pytest.skip(f"{missing} is not installed")
    source, wanted = SAMPLES[language]
    path = tmp_path / f"sample.{suffix}"
    path.write_text(source)
    argv = [*argv[:-1], str(ORACLES / argv[-1])] if argv[1:] else argv

    done = subprocess.run(
        argv,
        input=f"{path}\n",
        env={**os.environ, "NODE_PATH": NODE_PATH},
        capture_output=True,
        text=True,
        check=True,
        timeout=100,
    )

    found = json.loads(done.stdout)
    assert "error" not in found
    symbols = found["symbols"]
    known = {(kind, name, first, last) for kind, name, first, last in symbols if last}
    partly = {(kind, name, first) for kind, name, first, last in symbols if not last}
    unseen = {tuple(one) for one in found.get("ignored", ())}
    listed = {one for one in wanted if (one[1].rpartition(".")[2], one[2]) not in unseen}
    assert known <= listed
    assert {one[:3] for one in listed} == {one[:3] for one in known} | partly


def test_calls_in_what_a_rust_macro_is_given_are_seen() -> None:
    facts = read_facts(
        b"""fn f(&self) {
    println!("{} {}", total(x), self.a.count(1) + m::g(2));
    assert_eq!(Some(inner(y)), vec![a.b(), c![d(1)]], "{}", (1, 2));
}
m! { fn made(x: u8) {} }
""",
        "rust",
    )

    assert [(call.callee, call.line, call.caller) for call in facts.calls] == [
        ("println", 2, "f"),
        ("total", 2, "f"),
        ("self.a.count", 2, "f"),
        ("m::g", 2, "f"),
        ("assert_eq", 3, "f"),
        ("Some", 3, "f"),
        ("inner", 3, "f"),
        ("a.b", 3, "f"),
        ("d", 3, "f"),
        ("m", 5, None),
    ]


@pytest.mark.parametrize(
    ("source", "wanted"),
    [
        ("int f(int x) { IF_X(x) { return 1; } else IF_X(y) { return 2; } else {} }", ["f"]),
        ("class A {\nNAME_PRIVATE:\n int f() { return 1; }\n};", ["A", "A.f"]),
        ('TEST_CASE("a b", "[c]") { struct L {}; }', ["TEST_CASE", "TEST_CASE.L"]),
        ("class A {\n enum : long { one };\n int f() { return 1; }\n};", ["A", "A.f"]),
        ("class A {\n A(B b = {}) : b(b) {}\n int f() {}\n};", ["A", "A.A", "A.f"]),
        ("class A {\n int f() { return long(a) < b(c); }\n int g() {}\n};", ["A", "A.f", "A.g"]),
        ("int f() { if IF_X (a) { return 1; } return 2; }\nint g() {}", ["f", "g"]),
        ("int f() { FOR_EACH_X(a, b) { c(); } }", ["f"]),
        ("#if 0\nint f( {\n#else\nint g() {\n#endif\n}\nint h() {}", ["g", "h"]),
        ("int f() {\n#ifdef A\n if (a) {\n#else\n {\n#endif\n }\n}\nint g() {}", ["f", "g"]),
        (
            "struct A { int f() const\n LOCKS_X_(m) { return 1; }\n int x GUARDED_X(m); };",
            ["A", "A.f"],
        ),
        ("template X_API int f<int>(int);\nextern template class B<int>;\nint g() {}", ["g"]),
        ("struct A { template <class T> friend int f(T) { return 1; } };", ["A", "f"]),
        ("typedef int (*F)(int);\ntypedef struct { int a; } B, *C;", ["F", "B", "C"]),
        ("DWORD WINAPI f(int x) { return 1; }\nBOOL A::g() { return 1; }", ["f", "A.g"]),
        (
            'bool operator <(A a, B b) {}\nauto operator"" _x(int a) {}',
            ["operator<", 'operator""_x'],
        ),
    ],
)
def test_cpp_is_read_past_what_only_its_preprocessor_knows(source: str, wanted: list[str]) -> None:
    facts = read_facts(source.encode(), "cpp")

    assert [symbol.qualified_name for symbol in facts.symbols] == wanted
    assert facts.error_lines == ()


@pytest.mark.parametrize(
    ("source", "language", "wanted"),
    [
        (
            """\
interface I {
  <T extends A>(x: T): A
  // said
  <
    T extends B,
  >(x: T): B
  [k: string]: any
  m(): void
}
class C {}
""",
            "typescript",
            [("I", 1, 9), ("I.m", 8, 8), ("C", 10, 10)],
        ),
        (
            "class A\n  <T extends B> {}\nfunction f\n  <T extends B>(x: T) {}\n",
            "typescript",
            [("A", 1, 2), ("f", 3, 4)],
        ),
        (
            "const F = () =>\n  <div>hi</div>\nfunction g() {}\n",
            "tsx",
            [("F", 1, 2), ("g", 3, 3)],
        ),
    ],
    ids=["signatures", "heads", "markup"],
)
def test_a_line_that_begins_with_a_bracket_ends_only_a_signature(
    source: str, language: Language, wanted: list[tuple[str, int, int]]
) -> None:
    facts = read_facts(source.encode(), language)

    assert [(s.qualified_name, s.start_line, s.end_line) for s in facts.symbols] == wanted
    assert facts.error_lines == ()


def test_a_qualified_name_in_a_known_namespace_is_a_function() -> None:
    assert found_in("namespace a { struct S; }\nint a::f() {}\nint a::S::g() {}\n", "cpp") == [
        ("namespace", "a", 1, 1),
        ("function", "a.f", 2, 2),
        ("method", "a.S.g", 3, 3),
    ]


def test_a_chain_of_any_depth_is_read() -> None:
    facts = read_facts(
        b"x = " + b"(" * 5000 + b")" * 5000 + b"\n" + b"a." * 20000 + b"b\n", "python"
    )

    assert facts.depth > 1000
