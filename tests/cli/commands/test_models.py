"""`qairt models`: the families and what was proven."""

from __future__ import annotations

from qairt.model.families import FAMILIES


def test_every_family_has_a_row(qairt):
    said = qairt("models")
    assert said.code == 0
    assert said.out.split()[:5] == ["family", "models", "besides", "Llama", "GGUF"]
    for name, family in FAMILIES.items():
        row, *others = (line for line in said.out.splitlines() if line.split()[0] == name)
        assert family.models in row
        assert ", ".join(family.features) in row
        assert len(others) == (family.embedding is not None)
        if family.embedding is not None:
            (row,) = others
            assert row.startswith(f"{name} (embedding)")
            assert family.embedding.models in row
            assert ", ".join(family.embedding.features) in row
            assert row.endswith("float, quantized, emulated NPU, Genie")


def test_as_json(qairt):
    families = {family["name"]: family for family in qairt("models", "--json").data["families"]}
    assert families["gemma2"]["features"] == list(FAMILIES["gemma2"].features)
    assert families["llama"] == {
        "name": "llama",
        "architecture": "LlamaForCausalLM",
        "models": FAMILIES["llama"].models,
        "features": [],
        "gguf": "llama",
        "proven": ["float", "quantized", "emulated", "genie"],
        "embedding": None,
    }
    assert families["gemma3_text"]["embedding"] == {
        "models": "EmbeddingGemma",
        "features": ["attention in both directions", "mean of all tokens", "two linears"],
        "gguf": "gemma-embedding",
        "proven": ["float", "quantized", "emulated", "genie"],
    }
    assert families["qwen3"]["embedding"]["gguf"] == "qwen3"
