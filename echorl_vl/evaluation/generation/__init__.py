"""Generation: questions -> response files, by transformers or vLLM; resumable at any question."""
