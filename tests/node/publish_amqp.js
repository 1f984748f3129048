// Publishing from Node.js to RabbitMQ with amqplib: Celery's message, written out.
// celery-node would declare the queue as a classic one, which RabbitMQ refuses beside our quorum queue.
// node publish_amqp.js BROKER_URL COMMAND_AS_JSON
const { randomUUID } = require("crypto");
const amqp = require("amqplib");

const QUEUE = "device-status.routine";

async function main([broker, command]) {
  const connection = await amqp.connect(broker);
  const channel = await connection.createConfirmChannel();
  // As the workers declare it. RabbitMQ confirms a message for a queue that is not there, and drops it.
  await channel.assertQueue(QUEUE, { durable: true, arguments: { "x-queue-type": "quorum" } });
  let returned = false;
  channel.on("return", () => (returned = true));
  const body = JSON.stringify([[], { command: JSON.parse(command) }, {}]);
  channel.publish("", QUEUE, Buffer.from(body), {
    contentType: "application/json",
    contentEncoding: "utf-8",
    persistent: true,
    // Returned if the queue was deleted meanwhile.
    mandatory: true,
    headers: { lang: "js", task: "device_status.apply", id: randomUUID() },
  });
  await channel.waitForConfirms();
  await connection.close();
  if (returned) throw new Error(`there is no queue ${QUEUE}`);
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error.message);
  process.exitCode = 1;
});
