// The official TypeScript SDK client of the stateless era, through every step a connection can
// take.
//
// `client_2026.mjs URL [STEP...]` connects to the MCP endpoint at URL and prints one JSON line a
// step, then exits 0; the first step that fails prints what was wrong and exits 1. The server
// behind URL is `server.py` run by an SDK of the same era, but for the step `fall_back`.
import { Client, ProtocolError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import * as common from './common.mjs';
import { ARGUMENTS, check, textOf } from './common.mjs';

const url = new URL(process.argv[2]);
const ELSEWHERE = new Set(common.ELSEWHERE);

async function connect() {
    const client = new Client(
        { name: 'typescript-2026', version: '1.0.0' },
        { capabilities: { elicitation: {} }, versionNegotiation: { mode: 'auto' } },
    );
    client.setRequestHandler('elicitation/create', () => (
        { action: 'accept', content: { name: 'Åse' } }
    ));
    await client.connect(new StreamableHTTPClientTransport(url));
    return client;
}

const call = (client, name, args, options) =>
    client.callTool({ name, arguments: args }, { timeout: 60_000, ...options });

const disconnect = (client) => client.close();

const { progress, cancelMany, echoMebibytes, getSixteenMebibytes, callFifty } = common.steps(call);

// The client probes first; a fall back to the handshake would be the tunnel's fault.
async function discover(client) {
    const version = client.getNegotiatedProtocolVersion();
    check(version === '2026-07-28', version);
    check(client.getServerVersion().name === 'python-2026', client.getServerVersion());
    return { version };
}

async function tools(client) {
    const names = (await client.listTools()).tools.map((tool) => tool.name);
    for (const name of names.filter((name) => !ELSEWHERE.has(name))) {
        check(name in ARGUMENTS, `no arguments known for the tool ${name}`);
        const result = await call(client, name, ARGUMENTS[name]);
        check(!result.isError && result.content.length > 0, { name, result });
    }
    return { tools: names.length };
}

async function resources(client) {
    const listed = (await client.listResources()).resources;
    for (const { uri } of listed) {
        const { contents } = await client.readResource({ uri });
        check(contents.length > 0, `${uri} is empty`);
    }
    const templates = (await client.listResourceTemplates()).resourceTemplates;
    const note = await client.readResource({ uri: 'memo://notes/fjørds' });
    check(note.contents[0].text === 'a note about fjørds', note);
    return { resources: listed.length, templates: templates.length };
}

async function prompts(client) {
    const listed = (await client.listPrompts()).prompts;
    check(listed.length >= 2, 'too few prompts');
    const got = await client.getPrompt({ name: 'args-prompt', arguments: { city: 'Oslo' } });
    check(got.messages[0].content.text.includes('Oslo'), got);
    return { prompts: listed.length };
}

async function errors(client) {
    const result = await call(client, 'fail', {});
    check(result.isError && textOf(result), result);
    for (const [request, code] of [
        [() => client.readResource({ uri: 'memo://no/such/thing' }), -32602],
        [() => client.getPrompt({ name: 'no-such-prompt' })],
    ]) {
        const answer = await request().catch((error) => error);
        check(answer instanceof ProtocolError, { 'an error was expected': String(answer) });
        check(code === undefined || answer.code === code, { code: answer.code });
        check(!answer.data?.tunnel_failure, answer.message);
    }
}

// An argument that is mirrored in `Mcp-Param-Region`, plain and encoded.
async function header_argument(client) {
    for (const region of ['eu-north', 'Øst']) {
        const text = textOf(await call(client, 'in-region', { region }));
        check(text.startsWith(`${region}, `), text);
    }
}

// `input_required`, answered by a second request that echoes an opaque state.
async function more_input(client) {
    const text = textOf(await call(client, 'ask-for-name', {}));
    check(text === 'Hello, Åse!', text);
}

async function cancel(client) {
    const counts = async () => JSON.parse(textOf(await call(client, 'counts', {})));
    const before = await counts();
    await cancelMany(client);
    // The server learns of it: all that had started are cancelled, in time.
    for (;;) {
        const now = await counts();
        if (now.cancelled - before.cancelled >= 10) {
            return now;
        }
        await new Promise((resolve) => setTimeout(resolve, 50));
    }
}

async function payloads(client) {
    await echoMebibytes(client);
    return getSixteenMebibytes(client);
}

async function many_at_once() {
    await callFifty(connect, disconnect);
}

// A server of the handshake era is found out, and spoken to as it likes.
async function fall_back(client) {
    const version = client.getNegotiatedProtocolVersion();
    check(version === '2025-11-25', version);
    const result = await call(client, 'echo', { message: 'old friend' });
    check(textOf(result) === 'Echo: old friend', result);
}

const steps = [
    discover, tools, resources, prompts, progress, errors, header_argument, more_input, cancel,
    payloads, many_at_once,
];
const wanted = process.argv.slice(3);
const chosen = wanted.length ? [fall_back, ...steps].filter((s) => wanted.includes(s.name)) : steps;
await common.run(chosen, connect, disconnect);
