"""Chat templates against jinja2, set up as transformers sets it up: every template in the data folder, many conversations."""
import json
import random

import jinja2
import pytest
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment

import text_driver

# Outside the interpreter's subset of Jinja; loading or rendering says so.
UNSUPPORTED = {
    "ByteDance-Seed-OSS.jinja",  # keys of a mapping that are not strings
    "deepseek-ai-DeepSeek-V3.2.jinja",  # filter from_json (neither in jinja2)
    "deepseek-ai-DeepSeek-V4.jinja",
    "mistralai-Ministral-3-14B-Reasoning-2512.jinja",  # filter sort
}
# The recipes' families; these must load and render.
NEEDED = {"Qwen-Qwen3-0.6B.jinja", "Qwen-Qwen2.5-7B-Instruct.jinja", "deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja"}


def environment():
    made = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])

    def raise_exception(message):
        raise jinja2.exceptions.TemplateError(message)

    made.globals["raise_exception"] = raise_exception
    made.filters["tojson"] = lambda value, ensure_ascii=False, indent=None: json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)
    return made


def conversations():
    contents = ["Hi", " What is 2+2?\n", "é\u4f60\n\n", "<think>\nhm\n</think>\n\nb", "<think>r</think>y", "\n\nx", "</think>", "", "{{ x }}",
                "a<|im_end|>\n", "<tool_response>t</tool_response>"]
    generator = random.Random(2)
    made = []
    for turns in range(1, 7):
        for system in (False, True):
            for _ in range(4):
                messages = [{"role": "system", "content": generator.choice(contents)}] if system else []
                for turn in range(turns):
                    messages.append({"role": "assistant" if turn % 2 else "user", "content": generator.choice(contents)})
                made.append(messages)
    made.append([{"role": "system", "content": "s"}, {"role": "user", "content": "u"}, {"role": "system", "content": "again"}])
    made.append([{"role": "user", "content": "u"}, {"role": "user", "content": "v"}])
    return made


def compare(source, folder):
    """Numbers of equal texts and of refusals on both sides; what differs fails, but for unsupported templates."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "chat_template.jinja").write_text(source)
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", "eos_token": {"content": "</s>"}}))
    try:
        template = environment().from_string(source)
    except jinja2.exceptions.TemplateSyntaxError:
        template = None
    expected, requests = [], []
    for messages in conversations():
        for thinking in (None, True, False):
            for prompt in (True, False):
                requests.append({"folder": str(folder), "messages": messages, "add_generation_prompt": prompt, "enable_thinking": thinking})
                variables = {} if thinking is None else {"enable_thinking": thinking}
                try:
                    expected.append(template.render(messages=messages, add_generation_prompt=prompt, tools=None, documents=None,
                                                    bos_token="<s>", eos_token="</s>", **variables))
                except (jinja2.exceptions.TemplateError, TypeError, AttributeError):
                    expected.append(None)
    return list(zip(requests, expected, text_driver.render(requests, folder)))


def check(results):
    equal = 0
    for request, expected, got in results:
        if expected is None:
            assert isinstance(got, dict), f"jinja2 refuses {request}, we render {got!r}"
        else:
            assert got == expected, f"{request}\n{got!r}\n{expected!r}"
            equal += 1
    return equal


def template_files():
    if text_driver.DATA is None:
        return []
    return sorted(text_driver.DATA.glob("chat_templates/templates/*/*.jinja"))


@pytest.mark.parametrize("path", template_files(), ids=lambda path: f"{path.parent.name}/{path.name}")
def test_template_file(path, tmp_path):
    results = compare(path.read_text(), tmp_path)
    if path.name in UNSUPPORTED:
        assert all(isinstance(got, dict) for _, _, got in results), "renders now: take it off the list"
        return
    equal = check(results)
    assert equal > 0 or path.name not in NEEDED


def test_data_folder_has_the_needed_templates():
    text_driver.data_path("chat_templates")
    assert NEEDED <= {path.name for path in template_files()}


def test_small_templates(tmp_path):
    lines = text_driver.data_path("chat_templates", "templates", "ollama", "templates.jsonl").read_text().split("\n")
    sources = [source for line in lines if line for source in json.loads(line).values()]
    assert len(sources) >= 30
    assert sum(check(compare(source, tmp_path / str(i))) > 0 for i, source in enumerate(sources)) >= 30


def test_smollm2(tmp_path):
    """The template inside the GGUF file, through the GGUF reader on one side and the gguf package on the other."""
    if not text_driver.MODEL.exists():
        pytest.skip(f"{text_driver.MODEL} is missing")
    gguf = pytest.importorskip("gguf")
    field = gguf.GGUFReader(text_driver.MODEL).fields["tokenizer.chat_template"]
    source = bytes(field.parts[field.data[0]]).decode()
    assert "You are a helpful AI assistant named SmolLM" in source
    requests, expected = [], []
    for messages in conversations():
        for prompt in (True, False):
            requests.append({"folder": str(text_driver.MODEL), "messages": messages, "add_generation_prompt": prompt, "enable_thinking": None})
            expected.append(environment().from_string(source).render(messages=messages, add_generation_prompt=prompt))
    assert text_driver.render(requests[:40], tmp_path) == expected[:40]
    assert check(compare(source, tmp_path / "folder")) == 6 * len(conversations())
