// The SDKs for JavaScript: node_sdk.mjs CLIENTS BASE_URL embeddings|responses|runner [MODEL]
import { calls, loader, marker, must } from "./common.mjs";

const [clients, base, scenario, model = "claude-sonnet-4.5"] = process.argv.slice(2);
const load = loader(clients);

if (scenario === "runner") {
  const { default: Anthropic } = await load("@anthropic-ai/sdk");
  const client = new Anthropic({ baseURL: base, apiKey: "test", maxRetries: 0 });
  const saved = [];
  const save = {
    type: "custom",
    name: "save",
    description: "Save a value.",
    input_schema: { type: "object", properties: { v: { type: "string" } }, required: ["v"] },
    parse: (input) => input,
    run: ({ v }) => {
      saved.push(v);
      return "saved";
    },
  };
  const last = await client.beta.messages.toolRunner({
    model,
    max_tokens: 500,
    tools: [save],
    messages: [{ role: "user", content: marker(calls, "E2E_DONE") }],
  });
  must(last.content.at(-1).text === "E2E_DONE", JSON.stringify(last));
  must(saved.sort().join() === "A,B", "saved: " + saved);
} else {
  const { default: OpenAI } = await load("openai");
  const client = new OpenAI({ baseURL: base + "/v1", apiKey: "test", maxRetries: 0 });
  if (scenario === "embeddings") {
    const made = await client.embeddings.create({
      model: "text-embedding-3-small",
      input: ["a", "b"],
    });
    must(made.data.length === 2 && made.data[0].embedding.length === 4, JSON.stringify(made));
    must(Math.abs(made.data[0].embedding[0] - 0.25) < 1e-6, JSON.stringify(made));
  } else {
    const stream = client.responses.stream({ model, input: marker([], "E2E_DONE") });
    const made = await stream.finalResponse();
    must(made.output_text === "E2E_DONE", JSON.stringify(made));
  }
}
console.log("OK");
