// clients.cjs - the JavaScript clients of OpenAI and Ollama against the server at argv[2]. Exit status 0: all went well.
const assert = require("node:assert");
const OpenAI = require("openai");
const { Ollama } = require("ollama");

const url = process.argv[2];
const messages = [{ role: "user", content: "What is a tide?" }];

async function openai() {
    const client = new OpenAI({ baseURL: url + "/v1", apiKey: "none", maxRetries: 0 });
    const whole = await client.chat.completions.create({ model: "tiny", messages, max_tokens: 8, temperature: 0 });
    let text = "";
    for await (const chunk of await client.chat.completions.create({ model: "tiny", messages, max_tokens: 8, temperature: 0, stream: true }))
        text += chunk.choices[0]?.delta?.content ?? "";
    assert.strictEqual(text, whole.choices[0].message.content);
    const first = await client.responses.create({ model: "tiny", input: "What is a tide?", max_output_tokens: 8, temperature: 0 });
    let streamed = "";
    for await (const event of await client.responses.create({ model: "tiny", input: "What is a tide?", max_output_tokens: 8, temperature: 0, stream: true }))
        if (event.type === "response.output_text.delta") streamed += event.delta;
    assert.strictEqual(streamed, first.output_text);
    const second = await client.responses.create({ model: "tiny", input: "More.", previous_response_id: first.id, max_output_tokens: 4 });
    assert.strictEqual(second.previous_response_id, first.id);
    const vectors = await client.embeddings.create({ model: "vectors", input: ["a", "b"] });
    assert.strictEqual(vectors.data[1].embedding.length, 64);
    await assert.rejects(client.responses.retrieve("resp_none"), OpenAI.NotFoundError);
}

async function ollama() {
    const client = new Ollama({ host: url });
    const options = { temperature: 0, num_predict: 6 };
    const whole = await client.chat({ model: "tiny", messages, options });
    let text = "";
    for await (const part of await client.chat({ model: "tiny", messages, options, stream: true })) text += part.message.content;
    assert.strictEqual(text, whole.message.content);
    assert.strictEqual((await client.create({ model: "js", from: "tiny", parameters: { num_predict: 2 } })).status, "success");
    assert.strictEqual((await client.generate({ model: "js", prompt: "a" })).eval_count, 2);
    await client.delete({ model: "js" });
    assert.strictEqual((await client.embed({ model: "vectors", input: "a" })).embeddings.length, 1);
}

openai().then(ollama).catch((error) => {
    console.error(error);
    process.exit(1);
});
