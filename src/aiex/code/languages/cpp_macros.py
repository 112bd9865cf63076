"""What of a C++ file only its preprocessor can tell, blanked out so that the rest parses.

Headers are not read, so a macro is known by its name, in capitals, and by where it stands: as a
specifier before a declaration, as an attribute after it, in the head of a class, as a parameter of
a template, or alone. Conditions whose branches are pieces of a construct are cut down to one
branch. Every byte keeps its place. All steps take time that grows with the file.
"""

from __future__ import annotations

import re
from itertools import pairwise

__all__ = ["without_macros"]

_TO_SPACE = bytes(byte if byte in b"\t\r\n" else 32 for byte in range(256))
_SPACES = b" \t\r\n"
_NO_CODE = re.compile(
    rb'//(?:[^\n\\]|\\\r?\n|\\)*|/\*.*?(?:\*/|\Z)|R"([^()\\\s"]{0,16})\(.*?(?:\)\1"|\Z)'
    rb'|"(?:\\.|[^"\\\n])*"?|(?<![0-9A-Fa-f\'])\'(?:\\.|[^\'\\\n])*\'?',
    re.DOTALL,
)
_DIRECTIVE = re.compile(rb"(?m)^[ \t]*#[ \t]*(\w*)([^\n\\]*(?:\\(?:\r?\n)?[^\n\\]*)*)")
_BRACKETS = re.compile(rb"[(){}\[\]]")
_UNEXPECTED = frozenset({b"define", b"if", b"elif"})
_COMMENT = re.compile(rb"/\*.*?(?:\*/|\Z)", re.DOTALL)
_HEADER = re.compile(rb"(?<=\()\s*<[^<>\n]*>|//.*")
_NESTED = 32
_ELSEWHERE = re.compile(rb"WIN32|WIN64|MSC_|MSVC|CYGWIN|CUDA|_MSC\b|INTEL|BORLAND")
_NEVER = re.compile(rb"\s*(?:0|false)\s*\Z")
_MACRO = re.compile(
    rb"\b(?:_{0,2}[A-Z][A-Z0-9_]{2,}|__attribute__|__declspec|__forceinline|__inline(?:__)?"
    rb"|__cdecl|__stdcall|__fastcall|__vectorcall|__extension__|_Noreturn)\b"
)
_ARGUMENTS = re.compile(rb"[ \t]*\(")
_NEXT = re.compile(rb"\s*(?:(\w+)|(::|->|\[\[|.))?", re.DOTALL)
_CLASS_HEAD = re.compile(
    rb"\s+(?:[A-Z][A-Z0-9_]+\s+){0,4}(?!final\b)[A-Za-z_][\w:]*\s*(?:<[^{};]{0,300}?>)?\s*(?:final\s*)?"
    rb"(?::(?!:)|\{)"
)
_FUNCTION_HEAD = re.compile(
    rb"\s+(?:_{0,2}[A-Z][A-Z0-9_]+\s+){0,4}(?:operator\b|~?[A-Za-z_][\w:~]*(?:<[^<>(){};]{0,300}>)?"
    rb"[\w:~]*\s*\()"
)
_TYPES = re.compile(
    rb"\b(?:void|bool|char|short|int|long|float|double|signed|unsigned|const|typename"
    rb"|s?size_t|u?int(?:8|16|32|64|ptr)_t|ptrdiff_t|char(?:8|16|32)_t)\b(?!\s*\()"
)
_CONVERSION = re.compile(rb"\s*operator\s+\w")
_EXTERN_C = re.compile(rb'extern\s*"[^"\n]*"\Z')
_MISREAD = re.compile(
    rb"\b((?:inline|constexpr|consteval|static|extern)\s+)"
    rb"(?=(?:(?:inline|constexpr)\s+)?friend\b)"
    rb"|(?<![\w.>:])((?:extern\s+)?template\b(?!\s*<)[^;{}]{0,500};)"
    rb"|\benum\s*(:[\w:\s]{0,80})(?=\{)"
)
"""What the grammar does not know: `friend` not in front, many an explicit
instantiation, the base of an enum without a name."""
_CAST = re.compile(rb"(?<![\w ])(?:unsigned|signed|long|short)(?=\()")
"""A type of which the grammar takes `long(a) < b` for the head of a template."""
_EMPTY_DEFAULT = re.compile(rb"=[ \t]*(\{[ \t]*\})(?=\s*[,)])")
_TEMPLATE = re.compile(rb"\btemplate\s*<")
_ANGLES = re.compile(rb"->|<=|>=|[<>(){;]")
_LONGEST_HEAD = 4000
_LONGEST_WORD = 40
_CLASS_WORDS = frozenset({b"class", b"struct", b"union", b"enum"})
_SPECIFIERS = frozenset(
    {
        *(b"static", b"inline", b"constexpr", b"virtual", b"explicit", b"friend", b"extern"),
        *(
            b"mutable",
            b"consteval",
            b"constinit",
            b"const",
            b"template",
            b"volatile",
            b"thread_local",
        ),
    }
)
_AFTER = frozenset({b"const", b"noexcept", b"override", b"final", b"volatile", b"mutable"})
_ENDS_OF_HEAD = frozenset({b"{", b";", b"=", b":", b"->"})
_CONTROL = frozenset({b"if", b"while", b"for", b"switch", b"catch", b"constexpr"})
_KEYWORDS = frozenset(
    {
        *(b"return", b"new", b"delete", b"throw", b"case", b"goto", b"class", b"struct", b"enum"),
        *(b"union", b"namespace", b"using", b"typename", b"typedef", b"else", b"operator", b"do"),
        *(b"and", b"or", b"not", b"sizeof", b"co_return", b"co_yield", b"co_await", b"concept"),
        *(b"public", b"private", b"protected", b"default", b"requires", b"decltype", b"alignof"),
    }
)


def without_macros(source: bytes) -> bytes:
    """Return *source* with everything that only the preprocessor could explain blanked out."""
    return _Masker(source).masked()


class _Masker:
    """One file, while it is masked.

    Attributes:
        _out: The result.
        _code: The source without comments, directives, what stands in quotes, and what is masked.
    """

    def __init__(self, source: bytes) -> None:
        self._out = bytearray(source)
        self._code = bytearray(_NO_CODE.sub(_without_text, source))
        self._pairs: dict[int, int] = {}
        self._heads: set[int] = set()  # where `template <...>` ends

    def masked(self) -> bytes:
        self._choose_branches()
        self._pair_brackets()
        self._read_template_heads()
        self._mask_macros()
        for match in list(_MISREAD.finditer(self._code)):
            self._blank(*match.span(match.lastindex or 0))
        for match in list(_CAST.finditer(self._code)):
            self._out[match.start() : match.end()] = b"char".ljust(len(match[0]))
        for match in list(_EMPTY_DEFAULT.finditer(self._code)):
            self._out[match.start(1) : match.end(1)] = b"0".ljust(len(match[1]))
        return bytes(self._out)

    def _blank(self, start: int, end: int) -> None:
        self._out[start:end] = self._out[start:end].translate(_TO_SPACE)
        self._code[start:end] = self._code[start:end].translate(_TO_SPACE)

    def _choose_branches(self) -> None:
        """Take directives out of the code, and keep one branch where they cut a construct."""
        open_groups: list[list[re.Match[bytes]]] = []
        for match in list(_DIRECTIVE.finditer(bytes(self._code))):
            self._code[match.start() : match.end()] = match[0].translate(_TO_SPACE)
            self._clean_directive(match)
            word = match[1]
            if word in {b"if", b"ifdef", b"ifndef"}:
                open_groups.append([match])
            elif word in {b"elif", b"elifdef", b"elifndef", b"else"} and open_groups:
                open_groups[-1].append(match)
            elif word == b"endif" and open_groups:
                group = [*open_groups.pop(), match]
                if len(open_groups) < _NESTED and self._is_cut(group):
                    self._keep_one(group)

    def _clean_directive(self, match: re.Match[bytes]) -> None:
        """Blank what the grammar does not expect in a directive: comments, `(<header>)`."""
        start, end = match.span()
        unexpected = _COMMENT if match[1] == b"define" else _HEADER
        if match[1] in _UNEXPECTED:
            for one in list(unexpected.finditer(self._out, start, end)):
                self._out[one.start() : one.end()] = one[0].translate(_TO_SPACE)

    def _is_cut(self, group: list[re.Match[bytes]]) -> bool:
        if _NEVER.match(group[0][2]):
            return True
        at = self._before(group[0].start())
        clean = at < 0 or self._code[at] in b";{}:"
        for one, following in pairwise(group):
            branch = bytes(self._code[one.end() : following.start()]).strip()
            if not branch:
                continue
            if not clean or branch[-1] not in b";}:{" or not _is_balanced(branch):
                return True
            if branch.startswith(b"else"):
                return True
        return False

    def _keep_one(self, group: list[re.Match[bytes]]) -> None:
        kept = next((at for at, one in enumerate(group[:-1]) if not _is_unlikely(one)), None)
        for at, one in enumerate(group):
            self._blank(one.start(), one.end())
            if at + 1 < len(group) and at != kept:
                self._blank(one.end(), group[at + 1].start())

    def _before(self, start: int) -> int:
        """Return where the last visible character before *start* stands; -1 without one."""
        at = start - 1
        while at >= 0 and self._code[at] in _SPACES:
            at -= 1
        return at

    def _word_at(self, last: int) -> bytes:
        """Return the word that ends with the character at *last*; empty if there is none."""
        if last < 0:
            return b""
        start = max(0, last + 1 - _LONGEST_WORD)
        match = re.search(rb"\w+\Z", self._code[start : last + 1])
        return bytes(match[0]) if match else b""

    def _pair_brackets(self) -> None:
        stack: list[int] = []
        code = bytes(self._code)
        for match in _BRACKETS.finditer(code):
            at = match.start()
            if code[at] in b"({[":
                stack.append(at)
                continue
            opening = b"({["[b")}]".index(code[at])]
            if code[at] == ord("}"):
                while stack and code[stack[-1]] != opening:
                    stack.pop()
            if stack and code[stack[-1]] == opening:
                start = stack.pop()
                self._pairs[start] = at
                self._pairs[at] = start

    def _read_template_heads(self) -> None:
        """Find the ends of template heads, and put a type where a macro is a parameter."""
        code = bytes(self._code)
        left = 4 * len(code)  # heads inside of heads would be read again and again
        for match in _TEMPLATE.finditer(code):
            depth = 1
            at = match.end()
            while depth and left > 0:
                mark = _ANGLES.search(code, at, match.start() + _LONGEST_HEAD)
                if mark is None or mark[0] in b"{;":
                    break
                left -= mark.end() - at + 10
                at = mark.end()
                if mark[0] == b"(":
                    at = self._pairs.get(mark.start(), at)
                elif mark[0] in b"<>":
                    depth += 1 if mark[0] == b"<" else -1
            else:
                self._heads.add(at - 1)
                self._mask_parameters(code, match.end(), at - 1)
                left -= at - match.end()

    def _mask_parameters(self, code: bytes, start: int, end: int) -> None:
        for match in _MACRO.finditer(code, start, end):
            if self._code[match.start() : match.end()] != match[0]:
                continue  # masked with one around it
            opening = _ARGUMENTS.match(code, match.end())
            close = self._pairs.get(opening.end() - 1) if opening else None
            if (
                close is None
                or close >= end
                or self._code[self._before(match.start())] not in b",<"
            ):
                continue
            following = _NEXT.match(code, close + 1)
            if following and following[2] in {b",", b">"}:
                self._blank(match.start(), close + 1)
                for text in (self._out, self._code):
                    text[match.start() : match.start() + 3] = b"int"

    def _mask_macros(self) -> None:
        code = bytes(self._code)
        run_end = run_before = -1
        for match in _MACRO.finditer(code):
            if match.start() < run_end:
                continue
            before = self._before_run(match.start(), run_end, run_before)
            end = match.end()
            opening = _ARGUMENTS.match(code, end)
            close = self._pairs.get(opening.end() - 1) if opening else None
            if close is not None:
                end = close + 1
            elif opening is not None:
                continue
            if close is not None and self._word_at(before) in _CONTROL:
                end = match.end()  # `if NAME_CONSTEXPR (x)`
            elif not self._is_macro(
                code, match.start(), end, before, has_arguments=close is not None
            ):
                continue
            self._blank(match.start(), end)
            run_end, run_before = end, before

    def _before_run(self, start: int, run_end: int, run_before: int) -> int:
        """Return what stands before *start* and before the macros right before it."""
        at = start - 1
        while at >= run_end and at >= 0 and self._code[at] in _SPACES:
            at -= 1
        return run_before if 0 <= at < run_end else at

    def _is_macro(
        self, code: bytes, start: int, end: int, before: int, *, has_arguments: bool
    ) -> bool:
        following = _NEXT.match(code, end)
        word = following[1] if following else None
        mark = following[2] if following else None
        previous = self._word_at(before)
        if previous in _CLASS_WORDS:
            return _CLASS_HEAD.match(code, end) is not None
        if has_arguments and (end - start > _LONGEST_HEAD or b"{" in code[start:end]):
            return False
        if previous in _AFTER and mark in _ENDS_OF_HEAD:
            return True
        if previous == b"else" and mark == b"{" and has_arguments:
            self._make_if(code, start)
            return False
        if self._begins(before, previous):
            if word is not None:
                if word == b"operator" and not has_arguments:
                    return _CONVERSION.match(code, end) is not None
                return word not in _AFTER
            if mark == b"{":
                if has_arguments:
                    self._fit_block(code, start, end)
                return not has_arguments
            if mark == b":" and not has_arguments:  # `NAME_PRIVATE:`, or a label
                self._blank(end, following.end() if following else end)
                return True
            if mark == b";" and has_arguments:
                return _TYPES.search(code, start, end) is not None
            return mark in {None, b"}", b"~", b"[["} or (mark == b"::" and has_arguments)
        return self._stands_after(code, end, before, previous, word, mark, has_arguments)

    def _fit_block(self, code: bytes, start: int, end: int) -> None:
        """Make of a macro with a block what the grammar knows: an `if`, or a function."""
        close = self._pairs.get(code.index(b"{", end))
        following = _NEXT.match(code, close + 1) if close is not None else None
        if following is not None and following[1] == b"else":
            self._make_if(code, start)
        elif b'"' in code[start:end]:  # a test with a title
            self._blank(code.index(b"(", start) + 1, end - 1)

    def _make_if(self, code: bytes, start: int) -> None:
        self._blank(start, code.index(b"(", start))
        self._out[start : start + 2] = b"if"

    def _begins(self, before: int, previous: bytes) -> bool:
        """Say whether a declaration or statement begins after the character at *before*."""
        if before < 0 or previous in _SPECIFIERS or before in self._heads:
            return True
        letter = self._code[before]
        if letter == ord(":"):
            return before == 0 or self._code[before - 1] != ord(":")
        if letter == ord("]"):
            return before > 0 and self._code[before - 1] == ord("]")
        if letter == ord('"'):
            return _EXTERN_C.search(bytes(self._code[max(0, before - 20) : before + 1])) is not None
        return letter in b";{}"

    def _stands_after(
        self,
        code: bytes,
        end: int,
        before: int,
        previous: bytes,
        word: bytes | None,
        mark: bytes | None,
        has_arguments: bool,
    ) -> bool:
        """Say whether a macro stands behind a head, a name or a type."""
        letter = self._code[before]
        if letter == ord(")") or previous in _AFTER:
            if letter == ord(")") and not self._is_head(before):
                return False
            return mark in _ENDS_OF_HEAD or word in _AFTER or _is_macro(word)
        if previous in _KEYWORDS:
            return False
        if word is not None:
            is_type = bool(previous) or letter in b"*&>"
            return is_type and _FUNCTION_HEAD.match(code, end) is not None
        return bool(previous) and mark in (
            {b";", b"=", b",", b")"} if has_arguments else {b",", b")"}
        )

    def _is_head(self, close: int) -> bool:
        """Say whether the bracket that closes at *close* holds the parameters of a function."""
        opening = self._pairs.get(close)
        if opening is None:
            return False
        before = self._before(opening)
        previous = self._word_at(before)
        if previous:
            return previous not in _CONTROL and previous not in _KEYWORDS
        return before >= 0 and self._code[before] in b">)"


def _without_text(match: re.Match[bytes]) -> bytes:
    text = match[0]
    blank = text.translate(_TO_SPACE)
    if text[:1] == b"/":
        return blank
    return b'"' + blank[1:-1] + b'"' if len(text) > 1 else b'"'


def _is_macro(word: bytes | None) -> bool:
    return word is not None and _MACRO.fullmatch(word) is not None


def _is_balanced(branch: bytes) -> bool:
    """Say whether every bracket in *branch* closes there."""
    stack: list[int] = []
    for match in _BRACKETS.finditer(branch):
        letter = branch[match.start()]
        if letter in b"({[":
            stack.append(letter)
        elif not stack or b")}]".index(letter) != b"({[".index(stack.pop()):
            return False
    return not stack


def _is_unlikely(condition: re.Match[bytes]) -> bool:
    """Say whether a branch is never taken, or only on other systems than most."""
    word, text = condition[1], condition[2]
    if _NEVER.match(text) and word in {b"if", b"elif"}:
        return True
    return word in {b"if", b"ifdef", b"elif"} and b"!" not in text and bool(_ELSEWHERE.search(text))
