"""A stand-in for what knows about packages: deps.dev, OSV, and an index of each ecosystem.

Answers have the shapes of the documented ones: deps.dev `GetPackage` (api/v3/api.proto of
google/deps.dev), OSV `querybatch` and `vulns` (docs/api of google/osv.dev, schema 1.7.5), PEP 691
and PEP 503, npm's abbreviated metadata, the GOPROXY protocol, Cargo's sparse index, the API of
Hex (read 2026-11-25).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aiohttp import web

from aiex.testing.loopback import LoopbackServer

__all__ = ["FakePackages", "osv_record"]


def osv_record(
    identifier: str,
    *,
    package: str,
    ecosystem: str = "PyPI",
    fixed: Sequence[str] = (),
    severity: str | None = None,
    vector: str | None = None,
    aliases: Sequence[str] = (),
    summary: str = "",
    **more: Any,
) -> dict[str, Any]:
    """Return a record as OSV serves it.

    Args:
        identifier: Its identifier.
        package: Package that is affected.
        ecosystem: Its ecosystem, as OSV writes it.
        fixed: Versions that repair it, one for each range.
        severity: Word of the database, such as `HIGH`.
        vector: CVSS vector of version 3.
        aliases: Other identifiers.
        summary: What it is.
        more: Further fields, such as `withdrawn`.
    """
    record: dict[str, Any] = {
        "id": identifier,
        "summary": summary,
        "details": f"{summary}\n\nMore of it.",
        "modified": "2026-03-14T05:47:39.989396Z",
        "published": "2026-01-04T00:00:01.948828Z",
        "aliases": list(aliases),
        "references": [{"type": "WEB", "url": "https://example.org/advisory"}],
        "affected": [
            {
                "package": {"name": package, "ecosystem": ecosystem},
                "ranges": [
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": one}]}
                    for one in fixed
                ],
                "database_specific": {"source": "https://example.org/source.json"},
            }
        ],
        "schema_version": "1.7.5",
        **more,
    }
    if severity is not None:
        record["database_specific"] = {"severity": severity, "github_reviewed": True}
    if vector is not None:
        record["severity"] = [{"type": "CVSS_V3", "score": vector}]
    return record


class FakePackages(LoopbackServer):
    """Serves versions and advisories, and notes what it was asked.

    Args:
        versions: Versions by ecosystem and name: `{"pypi": {"six": ["1.0"]}}`.
        withdrawn: The same, of those that were yanked, deprecated or retired.
        records: Advisories, as OSV serves them.
        affecting: Identifiers by `name@version`.
        page: Most identifiers that an answer has for one query.

    Attributes:
        failures: Statuses that the next requests for a path get, by its beginning.
        asked: What was asked: method, path as sent, body.
        logins: What stood in `Authorization`, where it was sent.
    """

    def __init__(
        self,
        *,
        versions: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        withdrawn: Mapping[str, Mapping[str, Sequence[str]]] | None = None,
        records: Iterable[Mapping[str, Any]] = (),
        affecting: Mapping[str, Sequence[str]] | None = None,
        page: int = 1000,
    ) -> None:
        super().__init__()
        self._versions = versions or {}
        self._withdrawn = withdrawn or {}
        self._records = {record["id"]: record for record in records}
        self._affecting = affecting or {}
        self._page = page
        self.failures: dict[str, list[int]] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.logins: list[str] = []

    @property
    def osv_url(self) -> str:
        """Address of OSV."""
        return f"{self.url}/v1"

    @property
    def versions_url(self) -> str:
        """Address of deps.dev."""
        return f"{self.url}/v3"

    def paths(self) -> list[str]:
        """Return the paths that were asked for, as they were sent."""
        return [path for _, path, _ in self.asked]

    def _routes(self) -> Iterable[web.RouteDef]:
        return [web.route("*", "/{tail:.*}", self._answer)]

    async def _answer(self, request: web.Request) -> web.Response:
        body = await request.read()
        path = request.raw_path
        self.asked.append((request.method, path, body))
        if "Authorization" in request.headers:
            self.logins.append(request.headers["Authorization"])
        for beginning, statuses in self.failures.items():
            if path.startswith(beginning) and statuses:
                return web.Response(status=statuses.pop(0), headers={"Retry-After": "0"})
        parts = request.path.strip("/").split("/")
        match parts:
            case ["v1", "querybatch"]:
                return web.json_response(self._batch(json.loads(body)))
            case ["v1", "vulns", identifier] if identifier in self._records:
                return web.json_response(self._records[identifier])
            case ["v3", "systems", system, "packages", *name] if self._has(system, name):
                return web.json_response(self._deps_dev(system, "/".join(name)))
            case ["simple", name] if self._has("pypi", [name]):
                return self._simple(request, name)
            case ["npm", *name] if self._has("npm", name):
                return web.json_response(self._npm("/".join(name)))
            case ["go", *name, "@v", "list"] if self._has("go", name):
                return web.Response(text="\n".join(self._known("go", "/".join(name))) + "\n")
            case ["cargo", *_, name] if self._has("cargo", [name]):
                return web.Response(text=self._cargo(name))
            case ["hex", "packages", name] if self._has("hex", [name]):
                return web.json_response(self._hex(name))
        return web.Response(status=404, text="not found")

    def _has(self, ecosystem: str, name: Sequence[str]) -> bool:
        return "/".join(name).replace("!", "") in {
            known.lower() if ecosystem == "go" else known
            for known in self._versions.get(ecosystem, {})
        } or "/".join(name) in self._versions.get(ecosystem, {})

    def _known(self, ecosystem: str, name: str) -> Sequence[str]:
        packages = self._versions[ecosystem]
        folded = {known.lower(): versions for known, versions in packages.items()}
        return packages.get(name) or folded[name.replace("!", "")]

    def _gone(self, ecosystem: str, name: str) -> Sequence[str]:
        return self._withdrawn.get(ecosystem, {}).get(name, ())

    def _deps_dev(self, system: str, name: str) -> dict[str, Any]:
        key = {"system": system.upper(), "name": name}
        return {
            "packageKey": key,
            "versions": [
                {
                    "versionKey": {**key, "version": version},
                    "publishedAt": f"2026-01-{number + 1:02}T07:39:04Z",
                    "isDefault": False,
                    "isDeprecated": version in self._gone(system, name),
                    "deprecatedReason": "",
                }
                for number, version in enumerate(self._known(system, name))
            ],
        }

    def _simple(self, request: web.Request, name: str) -> web.Response:
        gone = self._gone("pypi", name)
        names = {f"{name}-{version}.tar.gz": version for version in self._known("pypi", name)}
        if "json" in request.headers.get("Accept", ""):
            files: list[dict[str, Any]] = [
                {
                    "filename": file,
                    "url": f"https://files.example.org/{file}",
                    "hashes": {},
                    "yanked": "it is broken" if version in gone else False,
                    "upload-time": "2026-02-03T04:05:06.789012Z",
                    "size": 1,
                }
                for file, version in names.items()
            ]
            page = {"meta": {"api-version": "1.1"}, "name": name, "files": files}
            kind = "application/vnd.pypi.simple.v1+json"
            return web.Response(body=json.dumps(page).encode(), content_type=kind)
        links = [
            f'<a href="../../f/{file}#sha256=0"{" data-yanked" if v in gone else ""}>{file}</a>'
            for file, v in names.items()
        ]
        return web.Response(text=f"<html>{''.join(links)}</html>", content_type="text/html")

    def _npm(self, name: str) -> dict[str, Any]:
        gone = self._gone("npm", name)
        return {
            "name": name,
            "modified": "2026-01-01T00:00:00.000Z",
            "dist-tags": {"latest": self._known("npm", name)[-1]},
            "versions": {
                version: {
                    "name": name,
                    "version": version,
                    **({"deprecated": "no longer"} if version in gone else {}),
                }
                for version in self._known("npm", name)
            },
        }

    def _cargo(self, name: str) -> str:
        gone = self._gone("cargo", name)
        lines = [
            {"name": name, "vers": version, "deps": [], "cksum": "0", "yanked": version in gone}
            for version in self._known("cargo", name)
        ]
        return "".join(json.dumps(line) + "\n" for line in lines)

    def _hex(self, name: str) -> dict[str, Any]:
        return {
            "name": name,
            "releases": [
                {"version": version, "inserted_at": "2026-01-01T00:00:00.000000Z"}
                for version in self._known("hex", name)
            ],
            "retirements": {v: {"reason": "invalid"} for v in self._gone("hex", name)},
        }

    def _batch(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        results = []
        for query in asked["queries"]:
            package = query["package"]
            name = package.get("name") or package["purl"].rpartition("/")[2]
            ids = self._affecting.get(f"{name}@{query['version']}", ())
            begin = int(query.get("page_token", "0"))
            result: dict[str, Any] = {}
            page = ids[begin : begin + self._page]
            if page:
                modified = "2026-03-14T05:47:39.989396Z"
                result["vulns"] = [{"id": one, "modified": modified} for one in page]
            if begin + self._page < len(ids):
                result["next_page_token"] = str(begin + self._page)
            results.append(result)
        return {"results": results}
