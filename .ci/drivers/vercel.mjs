// Vercel's AI SDK: vercel.mjs CLIENTS BASE_URL stream|tools|object [MODEL]
// createOpenAI as it is out of the box: Responses, with item_reference at step two.
import { calls, loader, marker, must } from "./common.mjs";

const [clients, base, scenario, model = "gpt-5.3-codex"] = process.argv.slice(2);
const load = loader(clients);
const { streamText, generateText, generateObject, tool, stepCountIs } = await load("ai");
const { createOpenAI } = await load("@ai-sdk/openai");
const { z } = await load("zod");

const openai = createOpenAI({ baseURL: base + "/v1", apiKey: "test" });
const saved = [];
const tools = {
  save: tool({
    description: "Save a value.",
    inputSchema: z.object({ v: z.string() }),
    execute: async ({ v }) => {
      saved.push(v);
      return "saved";
    },
  }),
};

const request = { model: openai(model), maxRetries: 0, stopWhen: stepCountIs(4) };
if (scenario === "stream") {
  let failure = null;
  const result = streamText({
    ...request,
    tools,
    prompt: marker(calls, "E2E_DONE"),
    onError: ({ error }) => (failure = error),
  });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  if (failure) throw failure;
  must(text === "E2E_DONE", "text: " + text);
} else if (scenario === "tools") {
  const result = await generateText({ ...request, tools, prompt: marker(calls, "E2E_DONE") });
  must(result.text === "E2E_DONE", "text: " + result.text);
} else {
  const { object } = await generateObject({
    model: openai(model),
    maxRetries: 0,
    schema: z.object({ city: z.string() }),
    prompt: marker([], "Rome"),
  });
  must(object.city === "Rome", JSON.stringify(object));
}
must(scenario === "object" || saved.join() === "A,B", "saved: " + saved);
console.log("OK");
