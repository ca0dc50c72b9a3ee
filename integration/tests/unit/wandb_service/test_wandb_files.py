"""Files of runs, and artifacts."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.unit.wandb_service.conftest import StandIn

CREATE = """mutation CreateRunFiles($files: [String!]!) { createRunFiles(input: {
  entityName: "sandbox", projectName: "p", runName: "r1", files: $files}) {
  runID uploadHeaders files { name uploadUrl } } }"""


def put(server: StandIn, name: str, content: bytes) -> str:
    """Send a file of a run; give its address."""
    (file,) = server.data_of(CREATE, files=[name])["createRunFiles"]["files"]
    address: str = file["uploadUrl"]
    assert server.ask("PUT", address, content=content, auth=None).status_code == 200
    return address


def test_a_file_is_sent_and_read(server: StandIn) -> None:
    server.upsert()
    put(server, "media/<b>.txt", b"old")
    address = put(server, "media/<b>.txt", b"new")
    answer = server.ask("GET", address, auth=None)
    assert answer.content == b"new"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"
    query = 'files(names: ["media/<b>.txt"]) { edges { node { name sizeBytes md5 directUrl } } }'
    (edge,) = server.run(query)["files"]["edges"]
    assert (edge["node"]["sizeBytes"], edge["node"]["directUrl"]) == (3, address)
    assert server.ask("GET", "/files/sandbox/p/r1/media/<b>.txt").content == b"new"
    with closing(server.records()) as records:
        path = records.files(records.runs()[0])["media/<b>.txt"]
        assert path.read_bytes() == b"new"
        assert path.parent == server.data / "files"
        assert [write.operation for write in records.writes()].count("upload") == 2


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../b", "", "a\0b", "x" * 2000])
def test_a_name_that_leads_out_is_refused(server: StandIn, name: str) -> None:
    server.upsert()
    assert "errors" in server.answer(CREATE, files=[name]).json()


def test_only_whoever_was_given_an_address_reaches_a_file(server: StandIn) -> None:
    server.upsert()
    address = put(server, "a", b"a")
    for path in (f"{address[:-1]}z", "/storage/1/", "/storage/x/y", "/storage/99/" + "0" * 32):
        assert server.ask("GET", path, auth=None).status_code in {404, 405, 422}
    assert server.ask("GET", "/files/sandbox/p/r1/a", auth=None).status_code == 401
    assert server.ask("GET", "/files/sandbox/p/r1/../../../etc/passwd").status_code in {404, 405}


@pytest.mark.parametrize("chunked", [False, True])
def test_a_file_is_bounded(made: Callable[..., StandIn], *, chunked: bool) -> None:
    server = made(largest=10)
    server.upsert()
    (file,) = server.data_of(CREATE, files=["a"])["createRunFiles"]["files"]

    async def parts() -> Any:
        yield b"x" * 6
        yield b"x" * 6

    content = parts() if chunked else b"x" * 11
    answer = server.ask("PUT", file["uploadUrl"], content=content)
    assert answer.status_code == 413
    assert list((server.data / "files").iterdir()) == []
    assert server.ask("GET", file["uploadUrl"]).status_code == 404


def test_files_are_listed_by_pattern_and_deleted(server: StandIn) -> None:
    server.upsert()
    for name in ("a.txt", "b.txt", "c.json"):
        put(server, name, name.encode())
    found = server.run('files(pattern: "%.txt") { edges { node { id name } } } fileCount')
    assert [edge["node"]["name"] for edge in found["files"]["edges"]] == ["a.txt", "b.txt"]
    delete = "mutation D($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }"
    server.data_of(delete, f=[found["files"]["edges"][0]["node"]["id"]])
    assert server.run("fileCount") == {"fileCount": 2}


def log_artifact(server: StandIn, content: bytes, *aliases: str) -> dict[str, Any]:
    """Do what a client does to log an artifact of one file."""
    digest = hashlib.md5(content).hexdigest()
    md5 = base64.b64encode(bytes.fromhex(digest)).decode()
    create = """mutation CreateArtifact($input: CreateArtifactInput!) {
      createArtifact(input: $input) { artifact { id state } } }"""
    given = {
        "entityName": "sandbox",
        "projectName": "p",
        "runName": "r1",
        "digest": digest,
        "artifactTypeName": "t",
        "artifactCollectionName": "data",
        "digestAlgorithm": "MANIFEST_MD5",
        "enableDigestDeduplication": True,
        "aliases": [{"artifactCollectionName": "data", "alias": alias} for alias in aliases],
    }
    made: dict[str, Any] = server.data_of(create, input=given)["createArtifact"]["artifact"]
    if made["state"] == "COMMITTED":
        return made
    files = """mutation CreateArtifactFiles($f: [CreateArtifactFileSpecInput!]!) {
      createArtifactFiles(input: {artifactFiles: $f, storageLayout: V2}) { files { edges { node {
        uploadUrl artifact { id } } } } } }"""
    spec = {"artifactID": made["id"], "name": "f.txt", "md5": md5}
    node = server.data_of(files, f=[spec])["createArtifactFiles"]["files"]["edges"][0]["node"]
    assert server.ask("PUT", node["uploadUrl"], content=content).status_code == 200
    manifest = """mutation M($id: ID!) { createArtifactManifest(input: {artifactID: $id, digest: "",
      name: "wandb_manifest.json", entityName: "sandbox", projectName: "p", runName: "r1"}) {
      artifactManifest { id file { uploadUrl } } } }"""
    file = server.data_of(manifest, id=made["id"])["createArtifactManifest"]["artifactManifest"]
    contents = {"f.txt": {"digest": md5, "size": len(content), "birthArtifactID": made["id"]}}
    body = json.dumps({"version": 1, "contents": contents}).encode()
    assert server.ask("PUT", file["file"]["uploadUrl"], content=body).status_code == 200
    commit = "mutation C($id: ID!) { commitArtifact(input: {artifactID: $id}) { artifact { id } } }"
    server.data_of(commit, id=made["id"])
    return made


def artifact(server: StandIn, name: str, fields: str) -> Any:
    query = f'query Q($n: String!) {{ project(name: "p") {{ artifact(name: $n) {{ {fields} }} }} }}'
    return server.data_of(query, n=name)["project"]["artifact"]


def test_an_artifact_has_versions_and_aliases(server: StandIn) -> None:
    server.upsert()
    first = log_artifact(server, b"one", "best")
    log_artifact(server, b"two")
    fields = "id versionIndex size fileCount aliases { alias } createdBy { ... on Run { name } }"
    best = artifact(server, "data:best", fields)
    assert (best["id"], best["versionIndex"], best["size"]) == (first["id"], 0, 3)
    assert best["createdBy"] == {"name": "r1"}
    assert artifact(server, "data", "versionIndex") == {"versionIndex": 1}
    assert artifact(server, "data:v0", "id") == {"id": first["id"]}
    assert artifact(server, "data:v7", "id") is None
    files = artifact(server, "data:v0", "files { edges { node { name directUrl } } }")["files"]
    (node,) = [edge["node"] for edge in files["edges"]]
    assert server.ask("GET", node["directUrl"]).content == b"one"
    digest = hashlib.md5(b"one").hexdigest()
    assert server.ask("GET", f"/artifactsV2/default/sandbox/x/{digest}/f.txt").content == b"one"


def test_an_artifact_of_the_same_content_is_the_same(server: StandIn) -> None:
    server.upsert()
    first = log_artifact(server, b"one")
    log_artifact(server, b"two")
    again = log_artifact(server, b"one", "back")
    assert again["id"] == first["id"]
    assert artifact(server, "data:back", "versionIndex") == {"versionIndex": 0}


def test_an_artifact_is_used_and_deleted(server: StandIn) -> None:
    server.upsert()
    made = log_artifact(server, b"one", "best")
    use = """mutation U($id: ID!) { useArtifact(input: {artifactID: $id, entityName: "sandbox",
      projectName: "p", runName: "r1"}) { artifact { id } } }"""
    server.data_of(use, id=made["id"])
    assert (
        len(server.run("inputArtifacts { edges { node { id } } }")["inputArtifacts"]["edges"]) == 1
    )
    delete = """mutation D($id: ID!, $all: Boolean) { deleteArtifact(input: {artifactID: $id,
      deleteAliases: $all}) { artifact { state } } }"""
    assert "errors" in server.answer(delete, id=made["id"]).json()
    server.data_of(delete, id=made["id"], all=True)
    assert artifact(server, "data:v0", "id") is None
    assert artifact(server, "data:best", "id") is None
