// A PLC in JavaScript, by node-opcua: it signs in, reads, listens, writes and calls, and prints one JSON object.
const opcua = require("node-opcua-client");
const [url, userName, password] = process.argv.slice(2);
const nodeId = (path) => `ns=2;s=VisionSystem${path}`;
const text = (value) => new opcua.Variant({ dataType: opcua.DataType.String, value });
const attributeId = opcua.AttributeIds.Value;

async function work(session) {
    const read = async (path) => (await session.read({ nodeId: nodeId(path), attributeId })).value.value;
    const write = async (path, dataType, value) =>
        (await session.write({ nodeId: nodeId(path), attributeId, value: { value: { dataType, value } } })).name;
    const trigger = async (camera) => {
        const inputArguments = [text(camera), text("17"), text("L7"), text("")];
        const done = await session.call({ objectId: nodeId(""), methodId: nodeId(".Trigger"), inputArguments });
        return [done.statusCode.name, (done.outputArguments || []).map((one) => one.value)];
    };
    const seen = [];
    const subscription = opcua.ClientSubscription.create(session, {
        requestedPublishingInterval: 50, publishingEnabled: true, requestedLifetimeCount: 1000,
        requestedMaxKeepAliveCount: 20, maxNotificationsPerPublish: 100, priority: 1,
    });
    const item = await subscription.monitor(
        { nodeId: nodeId(".ResultManagement.LastResult.Decision"), attributeId },
        { samplingInterval: 0, queueSize: 10 }, opcua.TimestampsToReturn.Both);
    item.on("changed", (found) => seen.push(found.value.value));
    const said = { state: (await read(".VisionStateMachine.CurrentState")).text, done: await trigger("top") };
    for (let tries = 0; !seen.includes(said.done[1][1]) && tries < 200; tries++)
        await new Promise((resolve) => setTimeout(resolve, 50));
    said.unknown = await trigger("back");
    said.denied = await write(".ResultManagement.LastResult.Decision", opcua.DataType.String, "ok");
    said.written = await write(".Enabled", opcua.DataType.Boolean, false);
    said.off = await trigger("top");
    said.refusal = await read(".LastRefusal");
    said.nodes = (await session.browse(nodeId(""))).references.map((one) => one.browseName.name);
    said.seen = seen;
    await subscription.terminate();
    return said;
}

(async () => {
    const client = opcua.OPCUAClient.create({
        securityMode: opcua.MessageSecurityMode.SignAndEncrypt, securityPolicy: opcua.SecurityPolicy.Basic256Sha256,
        endpointMustExist: false, connectionStrategy: { maxRetry: 1 },
    });
    await client.connect(url);
    const session = await client.createSession({ type: opcua.UserTokenType.UserName, userName, password });
    const said = await work(session);
    await session.close();
    await client.disconnect();
    console.log(`said ${JSON.stringify(said)}`);
})().catch((error) => { console.error(error.message); process.exit(1); });
