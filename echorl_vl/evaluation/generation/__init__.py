"""Generation: questions -> written responses, by transformers or vLLM; resumable at any question."""
