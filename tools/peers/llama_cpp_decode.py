"""Greedy decoding of a batch of prompts of one length, prompts included, as `rqat bench generate` does it, with
llama.cpp: one llama_decode for all prompts, then one for each new token of all sequences.

  .venvs/peers/bin/python tools/peers/llama_cpp_decode.py --model FILE.gguf --ids FILE --batch-size 16
"""
import ctypes

import measure

options = measure.parse_options(__doc__, max_new_tokens=(64, "tokens drawn per prompt, no fewer"))

import numpy as np

try:
    import llama_cpp
except ImportError as error:
    raise SystemExit(f"llama_cpp_decode: {error}; `tools/setup --peers` builds llama-cpp-python") from None


def open_context(batch_tokens):
    llama_cpp.llama_log_set(quiet, None)
    llama_cpp.llama_backend_init()
    model_params = llama_cpp.llama_model_default_params()
    model = llama_cpp.llama_model_load_from_file(options.model.encode(), model_params)
    if not model:
        raise SystemExit(f"llama_cpp_decode: {options.model} could not be loaded; a GGUF file is expected")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx = options.batch_size * (options.sequence_length + options.max_new_tokens)
    params.n_batch = batch_tokens
    params.n_ubatch = min(512, batch_tokens)
    params.n_seq_max = options.batch_size
    params.n_threads = params.n_threads_batch = options.threads
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise SystemExit("llama_cpp_decode: no context could be made")
    return model, context


@llama_cpp.llama_log_callback
def quiet(level, text, user_data):
    pass


def fill(batch, tokens):
    """tokens: (id, position, sequence, whether its logits are wanted)."""
    batch.n_tokens = len(tokens)
    for i, (token, position, sequence, wanted) in enumerate(tokens):
        batch.token[i] = token
        batch.pos[i] = position
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = sequence
        batch.logits[i] = wanted


def decode(tokens):
    """The most probable next token at each wanted place."""
    fill(batch, tokens)
    if llama_cpp.llama_decode(context, batch) != 0:
        raise SystemExit("llama_cpp_decode: llama_decode failed")
    best = []
    for i, token in enumerate(tokens):
        if token[3]:
            row = ctypes.cast(llama_cpp.llama_get_logits_ith(context, i), ctypes.POINTER(ctypes.c_float * vocabulary))
            best.append(int(np.argmax(np.frombuffer(row.contents, dtype=np.float32))))
    return best


def generate():
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(context), True)
    last = options.sequence_length - 1
    next_ids = decode([(t, p, s, p == last) for s, ids in enumerate(prompts) for p, t in enumerate(ids)])
    for position in range(options.sequence_length, options.sequence_length + options.max_new_tokens - 1):
        next_ids = decode([(token, position, sequence, True) for sequence, token in enumerate(next_ids)])


prompts = measure.read_sequences(options)
batch_tokens = options.batch_size * options.sequence_length
model, context = open_context(batch_tokens)
vocabulary = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
batch = llama_cpp.llama_batch_init(batch_tokens, 0, 1)
peak = measure.PeakMemory()
seconds = measure.time_repeats(generate, options.repeats)
measure.report(
    "generate",
    f"llama.cpp, {options.model.rsplit('/', 1)[-1]}",
    options,
    seconds,
    peak,
    options.batch_size * options.max_new_tokens,
)
