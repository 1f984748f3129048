// Publishing from Node.js with celery-node: keyword arguments only.
// node publish.js BROKER_URL COMMAND_AS_JSON
const celery = require("celery-node");

const [broker, command] = process.argv.slice(2);
const client = celery.createClient(broker, broker, "device-status.routine");
const task = client.createTask("device_status.apply");
task.applyAsync([], { command: JSON.parse(command) });
// Both wait for the same connection, in this order, and closing it sends what is still to be sent.
client.isReady().then(() => client.disconnect());
