"""The agent library's `Model` over the relay: requests in the chat dialect, responses read as steps of any wire.

The library's own models use the vendors' SDKs, and do more than the relay did. Each of these is kept here, with a test:

- thinking: streamed apart from the text, on all wires; `<think>` tags in a text are thinking (`response_stream`);
- signatures and encrypted reasoning go back to the provider that made them, and to no other (`thinking`);
- a reasoning field that a provider wants back with every call (`thinking`);
- images, files and audio, by data and by address, and text files as text (`content`);
- structured output: a JSON Schema where the model takes one, in the subset of its vendor, else JSON mode and
  instructions (`profiles`, `schemas`, `chat_body`);
- strict schemas of tools, parallel calls, and calls that a provider interleaves (`chat_body`, `response_stream`);
- settings by wire: token limits, effort or a budget of thinking, sampling that a reasoning model refuses
  (`chat_body`, `effort`);
- usage with cached, written and reasoning tokens; finish reasons, refusals and filters (`response_stream`);
- system messages in the role and the number that the model takes (`chat_body`).

What the SDKs did and this does not: citations and log probabilities are not kept in the stored response, because no
session shows or asks for them; thinking of another provider is left out, not sent as text; proxies of the environment
are not used, as for relayed calls.
"""
