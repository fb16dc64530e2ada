// An object of a zod schema, a call of a tool and a stream by Vercel's AI SDK.
import assert from "node:assert";
import {createOpenAICompatible} from "@ai-sdk/openai-compatible";
import {generateText, Output, streamText, tool} from "ai";
import {z} from "zod";

const provider = createOpenAICompatible({
  name: "rwkv",
  baseURL: `${process.argv[2]}/v1`,
  apiKey: "none",
  supportsStructuredOutputs: true,
});
const model = provider("rwkv-embedded");
const asked = {model, prompt: "Tell me a city.", maxOutputTokens: 400, temperature: 0, maxRetries: 0};

const City = z.object({
  name: z.string().max(20), // a small model finds no end
  people: z.int().optional(),
  kind: z.enum(["town", "city"]),
  facts: z.record(z.enum(["old", "large"]), z.boolean()),
});
const {output} = await generateText({...asked, output: Output.object({schema: City})});
City.parse(output);

const weather = tool({description: "Tells the weather.", inputSchema: z.object({city: z.string().max(40)})});
const called = await generateText({...asked, tools: {weather}, toolChoice: "required"});
assert.equal(called.toolCalls[0].toolName, "weather");
assert.equal(typeof called.toolCalls[0].input.city, "string");

let text = "";
for await (const part of streamText({...asked, maxOutputTokens: 16}).textStream) text += part;
assert.ok(text);
