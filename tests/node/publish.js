// Publishing from Node.js with celery-node: keyword arguments only.
// node publish.js BROKER_URL COMMAND_AS_JSON [QUEUE]
const celery = require("celery-node");

const [broker, command, queue = "device-status.routine"] = process.argv.slice(2);
const client = celery.createClient(broker, broker, queue);
const task = client.createTask("device_status.apply");
task.applyAsync([], { command: JSON.parse(command) });
// On Redis both wait for the same connection, in this order, and closing it sends what is still to be sent.
// On RabbitMQ it would drop that, and nothing says when it has been sent: there this process must be ended.
if (broker.startsWith("redis")) client.isReady().then(() => client.disconnect());
