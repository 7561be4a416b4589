// The official TypeScript SDK client of the stateless era, through every step a connection can
// take.
//
// `client_2026.mjs URL [STEP...]` connects to the MCP endpoint at URL and prints one JSON line a
// step, then exits 0; the first step that fails prints what was wrong and exits 1. The server
// behind URL is `server.py` run by an SDK of the same era, but for the step `fall_back`.
import { Client, ProtocolError, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';

const url = new URL(process.argv[2]);
const MIB = 1024 * 1024;
const LONG = 'trigger-long-running-operation';
const ARGUMENTS = {
    echo: { message: 'hello' },
    'get-sum': { a: 2, b: 3 },
    [LONG]: { duration: 0.1, steps: 2 },
    counts: {},
    big: { size: 100 },
    'in-region': { region: 'eu' },
    'change-tools': {},
};
// Called where it belongs, not in the round of all tools.
const ELSEWHERE = new Set(['fail', 'die', 'ask-for-name']);

function check(condition, what) {
    if (!condition) {
        throw new Error(typeof what === 'string' ? what : JSON.stringify(what));
    }
}

const textOf = (result) =>
    result.content.filter((c) => c.type === 'text').map((c) => c.text).join('');

const range = (from, to) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

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

async function progress(client) {
    const seen = [];
    const onprogress = ({ progress, total }) => seen.push([progress, total]);
    const result = await call(client, LONG, { duration: 0.5, steps: 10 }, { onprogress });
    check(textOf(result).includes('completed'), result);
    const expected = range(1, 10).map((n) => [n, 10]);
    check(JSON.stringify(seen) === JSON.stringify(expected), { seen });
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

// More calls are cancelled at once than the tunnel has workers; the next call must go through.
async function cancel(client) {
    const counts = async () => JSON.parse(textOf(await call(client, 'counts', {})));
    const before = await counts();
    const stops = range(1, 12).map(() => new AbortController());
    let running = 0;
    let tenRun;
    const started = new Promise((resolve) => { tenRun = resolve; });
    const calls = stops.map(({ signal }) =>
        call(client, LONG, { duration: 3000, steps: 30000 }, {
            signal,
            onprogress: ({ progress }) => {
                if (progress === 1 && ++running === 10) {
                    tenRun();
                }
            },
        }).then(
            (result) => check(false, { 'a cancelled call ended': result }),
            (error) => check(/no longer wanted/.test(error.message ?? error), String(error)),
        ),
    );
    await started;
    stops.forEach((stop) => stop.abort('no longer wanted'));
    await Promise.all(calls);
    // Long before the cancelled calls would have ended by themselves.
    const next = await call(client, 'echo', { message: 'next' }, { timeout: 15_000 });
    check(textOf(next) === 'Echo: next', next);
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
    for (const message of ['Zürich 🌍 \u2028 \\ " '.repeat(MIB / 16), 'a'.repeat(MIB)]) {
        const result = await call(client, 'echo', { message });
        check(textOf(result) === 'Echo: ' + message, '1 MiB came back changed');
    }
    const text = textOf(await call(client, 'big', { size: 16 * MIB }));
    check(text === '0123456789abcdef'.repeat(MIB), `16 MiB became ${text.length}`);
    return { bytes: text.length };
}

// 50 calls at once from 5 clients: each gets its own answer and its own progress.
async function many_at_once() {
    let answered = 0;
    const oneCall = async (client, number) => {
        if (number % 2) {
            const result = await call(client, 'get-sum', { a: number, b: 1000 });
            check(textOf(result).includes(` is ${number + 1000}.`), { number, result });
        } else {
            const steps = 2 + (number % 7);
            const seen = [];
            const onprogress = ({ progress, total }) => seen.push([progress, total]);
            const result = await call(client, LONG, { duration: 0.2, steps }, { onprogress });
            check(textOf(result).includes(`Steps: ${steps}.`), { number, result });
            const expected = range(1, steps).map((n) => [n, steps]);
            check(JSON.stringify(seen) === JSON.stringify(expected), { number, seen });
        }
        answered += 1;
    };
    const clients = await Promise.all(range(1, 5).map(connect));
    await Promise.all(
        clients.flatMap((client, index) => range(0, 9).map((n) => oneCall(client, index * 10 + n))),
    );
    await Promise.all(clients.map((client) => client.close()));
    check(answered === 50, `${answered} of 50 answered`);
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
let step;
try {
    step = { name: 'connect' };
    const client = await connect();
    for (step of chosen) {
        const begin = performance.now();
        const detail = await step(client);
        const ms = Math.round(performance.now() - begin);
        console.log(JSON.stringify({ step: step.name, ms, ...detail }));
    }
    step = { name: 'disconnect' };
    await client.close();
} catch (error) {
    console.log(JSON.stringify({ step: step.name, failed: String(error).slice(0, 2000) }));
    console.error(error);
    process.exit(1);
}
