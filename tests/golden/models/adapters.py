"""Small random low-rank adapters of the qwen2 checkpoint, as PEFT saves them."""

import json

import checkpoints

BASE = next(case for case in checkpoints.CASES if case.name == "qwen2")
RANK = 8
ATTENTION, MLP = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")

# name → what LoraConfig is told besides
ADAPTERS = {
    "every-matrix": {"target_modules": [*ATTENTION, *MLP], "lora_alpha": 16},
    "query-and-value": {"target_modules": ["q_proj", "v_proj"], "lora_alpha": 8},
    "rank-stabilized": {"target_modules": list(ATTENTION), "lora_alpha": 4, "use_rslora": True},
    "feed-forward": {"target_modules": list(MLP), "lora_alpha": 32},
}


def tensors_of(name):
    """PEFT's names: A is [rank, columns], B is [rows, rank]. Large enough that no adapter's answer is near the base's."""
    made = {}
    for tensor, values in BASE.tensors.items():
        parts = tensor.split(".")
        if parts[-1] != "weight" or parts[-2] not in ADAPTERS[name]["target_modules"]:
            continue
        rows, columns = values.shape
        stem = "base_model.model." + tensor.removesuffix(".weight")
        made[stem + ".lora_A.weight"] = checkpoints.tensor(f"{name} {tensor} A", (RANK, columns), columns**-0.5)
        made[stem + ".lora_B.weight"] = checkpoints.tensor(f"{name} {tensor} B", (rows, RANK), 0.15)
    return made


def write(name, folder):
    folder.mkdir(parents=True)
    config = {"peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, **ADAPTERS[name]}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    checkpoints.write_safetensors(folder / "adapter_model.safetensors", tensors_of(name))
    return folder


def golden_file(name):
    return checkpoints.golden_file(BASE).with_name(f"lora-{name}.npz")
