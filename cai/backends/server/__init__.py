"""Models behind servers that speak OpenAI's API: vLLM, SGLang, llama.cpp, managed APIs."""

from cai.backends.server.backend import ServerBackend

__all__ = ["ServerBackend"]
