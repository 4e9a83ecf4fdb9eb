"""The model gateway's wire: OpenAI's Chat, Embeddings and Models, Anthropic's Messages, and the operators' pages."""
