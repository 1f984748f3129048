// Publishing from Node.js with celery-ts: keyword arguments only.
// node publish_ts.js BROKER_URL COMMAND_AS_JSON [QUEUE]
const { createClient } = require("celery-ts");

const [broker, command, queue = "device-status.routine"] = process.argv.slice(2);
const client = createClient({ brokerUrl: broker });
const task = client.createTask("device_status.apply");
const { result } = task.applyAsync({ args: [], kwargs: { command: JSON.parse(command) }, queue });
// Workers return no result, and celery-ts complains at once that it has no place to look for one.
result.catch(() => {});
// On Redis this sends first what is still to be sent. On RabbitMQ it would drop that, and nothing says when
// it has been sent: there this process must be ended.
if (broker.startsWith("redis")) client.end();
