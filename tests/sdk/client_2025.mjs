// The official TypeScript SDK client of the handshake era, through every step a session can take.
//
// `client_2025.mjs URL` connects to the MCP endpoint at URL and prints one JSON line a step, then
// exits 0; the first step that fails prints what was wrong and exits 1. The server behind URL is
// `server.py`, of either era, or the npm server `@modelcontextprotocol/server-everything`. PAYLOAD_URL in the
// environment names a file that the latter can fetch: it is how it is made to answer something big.
import { gunzipSync } from 'node:zlib';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { EmptyResultSchema, LATEST_PROTOCOL_VERSION, McpError } from '@modelcontextprotocol/sdk/types.js';

const url = new URL(process.argv[2]);
const payloadUrl = process.env.PAYLOAD_URL ?? '';
const MIB = 1024 * 1024;
const LONG = 'trigger-long-running-operation';

// What each known tool is called with. A tool that needs a capability of the client is not listed
// by either server to a client that has none; a new tool fails here until it gets a line.
const ARGUMENTS = {
    echo: { message: 'hello' },
    'get-annotated-message': { messageType: 'success', includeImage: true },
    'get-env': {},
    'get-resource-links': { count: 3 },
    'get-resource-reference': { resourceType: 'Blob', resourceId: 2 },
    'get-structured-content': { location: 'Chicago' },
    'get-sum': { a: 2, b: 3 },
    'get-tiny-image': {},
    'gzip-file-as-resource': {
        name: 'hello.gz',
        data: 'data:text/plain,hello',
        outputType: 'resource',
    },
    'toggle-simulated-logging': {},
    'toggle-subscriber-updates': {},
    [LONG]: { duration: 0.1, steps: 2 },
    counts: {},
    big: { size: 100 },
    'in-region': { region: 'eu' },
    'change-tools': {},
};
// Called where it belongs, not in the round of all tools.
const ELSEWHERE = new Set(['fail', 'die', 'simulate-research-query', 'ask-for-name']);
const PROMPT_ARGUMENTS = {
    'args-prompt': { city: 'Oslo', state: 'Viken' },
    'completable-prompt': { department: 'Engineering', name: 'Alice' },
    'resource-prompt': { resourceType: 'Text', resourceId: '1' },
};

function check(condition, what) {
    if (!condition) {
        throw new Error(typeof what === 'string' ? what : JSON.stringify(what));
    }
}

const textOf = (result) =>
    result.content.filter((c) => c.type === 'text').map((c) => c.text).join('');

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

async function connect() {
    const client = new Client({ name: 'typescript-2025', version: '1.0.0' });
    const transport = new StreamableHTTPClientTransport(url);
    await client.connect(transport);
    return { client, transport, server: client.getServerVersion().name };
}

async function disconnect({ client, transport }) {
    await transport.terminateSession();
    await client.close();
}

// `client.callTool` with the arguments of the tool and the options of the SDK's request.
const call = ({ client }, name, args, options) =>
    client.callTool({ name, arguments: args }, undefined, { timeout: 60_000, ...options });

async function initialize({ client, transport, server }) {
    check(server, 'the server has no name');
    check(transport.protocolVersion === LATEST_PROTOCOL_VERSION, transport.protocolVersion);
    await client.ping();
    return { server, session: transport.sessionId !== undefined };
}

async function tools(session) {
    const names = (await session.client.listTools()).tools.map((tool) => tool.name);
    for (const name of names.filter((name) => !ELSEWHERE.has(name))) {
        check(name in ARGUMENTS, `no arguments known for the tool ${name}`);
        const result = await call(session, name, ARGUMENTS[name]);
        check(!result.isError && result.content.length > 0, { name, result });
    }
    check(textOf(await call(session, 'echo', { message: 'hi' })) === 'Echo: hi', 'echo');
    if (names.includes('toggle-simulated-logging')) {
        await call(session, 'toggle-simulated-logging', {});
        await call(session, 'toggle-subscriber-updates', {});
    }
    return { tools: names.length };
}

async function resources({ client }) {
    const listed = (await client.listResources()).resources;
    check(listed.length > 0, 'no resources');
    for (const { uri } of listed) {
        const { contents } = await client.readResource({ uri });
        check(contents.length > 0, `${uri} is empty`);
        if (uri === 'memo://greeting') {
            check(contents[0].text.includes('世界 \u{1f30d}\n\u2028 a line'), contents);
        }
        if (uri === 'memo://bytes') {
            const expected = Buffer.from(range(0, 255));
            check(Buffer.from(contents[0].blob, 'base64').equals(expected), 'bytes changed');
        }
    }
    const templates = (await client.listResourceTemplates()).resourceTemplates;
    check(templates.length > 0, 'no resource templates');
    for (const { uriTemplate } of templates) {
        const uri = uriTemplate.replace('{resourceId}', '1').replace('{name}', 'fjords');
        check((await client.readResource({ uri })).contents.length > 0, `${uri} is empty`);
    }
    return { resources: listed.length, templates: templates.length };
}

async function prompts({ client }) {
    const listed = (await client.listPrompts()).prompts;
    check(listed.length >= 2, 'too few prompts');
    for (const { name } of listed) {
        const got = await client.getPrompt({ name, arguments: PROMPT_ARGUMENTS[name] });
        check(got.messages.length > 0, `${name} has no messages`);
    }
    return { prompts: listed.length };
}

async function progress(session) {
    const seen = [];
    const onprogress = ({ progress, total }) => seen.push([progress, total]);
    const result = await call(session, LONG, { duration: 0.5, steps: 10 }, { onprogress });
    check(textOf(result).includes('completed'), result);
    const expected = range(1, 10).map((n) => [n, 10]);
    check(JSON.stringify(seen) === JSON.stringify(expected), { seen });
}

// An error result is a result; an error is an error; both arrive as the server made them.
async function errors(session) {
    const { client, server } = session;
    let result = await call(session, 'get-sum', { a: 'not a number' });
    check(result.isError && textOf(result), result);
    if (server.startsWith('python-')) {
        result = await call(session, 'fail', {});
        check(result.isError && textOf(result).includes(' fail'), result);
    }
    for (const request of [
        () => client.readResource({ uri: 'memo://no/such/thing' }),
        () => client.getPrompt({ name: 'no-such-prompt' }),
        () => client.request({ method: 'no/such/method' }, EmptyResultSchema),
    ]) {
        const answer = await request().catch((error) => error);
        check(answer instanceof McpError, { 'an error was expected': answer });
        check(answer.code <= 0 && !answer.data?.tunnel_failure, answer.message);
    }
}

// More calls are cancelled at once than the tunnel has workers; the next call must go through.
async function cancel(session) {
    const stops = range(1, 12).map(() => new AbortController());
    let running = 0;
    let tenRun;
    const started = new Promise((resolve) => { tenRun = resolve; });
    const calls = stops.map(({ signal }) =>
        call(session, LONG, { duration: 3000, steps: 30000 }, {
            signal,
            onprogress: ({ progress }) => {
                if (progress === 1 && ++running === 10) {
                    tenRun();
                }
            },
        }).then(
            (result) => check(false, { 'a cancelled call ended': result }),
            (error) => check(/no longer wanted/.test(error.message), error.message),
        ),
    );
    await started;
    stops.forEach((stop) => stop.abort('no longer wanted'));
    await Promise.all(calls);
    // Long before the cancelled calls would have ended by themselves.
    const next = await call(session, 'echo', { message: 'next' }, { timeout: 15_000 });
    check(textOf(next) === 'Echo: next', next);
    if (session.server.startsWith('python-')) {
        const counts = JSON.parse(textOf(await call(session, 'counts', {})));
        check(counts.cancelled >= 10, counts);
        return counts;
    }
}

async function payloads(session) {
    for (const message of ['Zürich 🌍 \u2028 \\ " '.repeat(MIB / 16), 'a'.repeat(MIB)]) {
        const result = await call(session, 'echo', { message });
        check(textOf(result) === 'Echo: ' + message, '1 MiB came back changed');
    }
    if (session.server.startsWith('python-')) {
        const text = textOf(await call(session, 'big', { size: 16 * MIB }));
        check(text === '0123456789abcdef'.repeat(MIB), `16 MiB became ${text.length}`);
        return { bytes: text.length };
    }
    const args = { name: 'big.gz', data: payloadUrl, outputType: 'resource' };
    const result = await call(session, 'gzip-file-as-resource', args);
    check(!result.isError, textOf(result).slice(0, 500));
    const { blob } = result.content[0].resource;
    check(blob.length >= 16 * MIB, `16 MiB became ${blob.length}`);
    const expected = Buffer.from(await (await fetch(payloadUrl)).arrayBuffer());
    check(gunzipSync(Buffer.from(blob, 'base64')).equals(expected), 'the payload changed');
    return { bytes: blob.length };
}

// 50 calls at once from 5 sessions: each gets its own answer and its own progress.
async function many_at_once() {
    let answered = 0;
    const oneCall = async (session, number) => {
        if (number % 2) {
            const result = await call(session, 'get-sum', { a: number, b: 1000 });
            check(textOf(result).includes(` is ${number + 1000}.`), { number, result });
        } else {
            const steps = 2 + (number % 7);
            const seen = [];
            const onprogress = ({ progress, total }) => seen.push([progress, total]);
            const result = await call(session, LONG, { duration: 0.2, steps }, { onprogress });
            check(textOf(result).includes(`Steps: ${steps}.`), { number, result });
            const expected = range(1, steps).map((n) => [n, steps]);
            check(JSON.stringify(seen) === JSON.stringify(expected), { number, seen });
        }
        answered += 1;
    };
    const sessions = await Promise.all(range(1, 5).map(connect));
    await Promise.all(
        sessions.flatMap((session, index) =>
            range(0, 9).map((n) => oneCall(session, index * 10 + n)),
        ),
    );
    await Promise.all(sessions.map(disconnect));
    check(answered === 50, `${answered} of 50 answered`);
}

const steps = [
    initialize, tools, resources, prompts, progress, errors, cancel, payloads, many_at_once,
];
let step;
try {
    step = { name: 'connect' };
    const session = await connect();
    for (step of steps) {
        const begin = performance.now();
        const detail = await step(session);
        const ms = Math.round(performance.now() - begin);
        console.log(JSON.stringify({ step: step.name, ms, ...detail }));
    }
    step = { name: 'disconnect' };
    await disconnect(session);
} catch (error) {
    console.log(JSON.stringify({ step: step.name, failed: String(error).slice(0, 2000) }));
    console.error(error);
    process.exit(1);
}
