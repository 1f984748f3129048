// Publishing from Node.js to RabbitMQ with amqplib: Celery's message, written out.
// celery-node would declare the queue as a classic one, which RabbitMQ refuses beside our quorum queue.
// node publish_amqp.js BROKER_URL COMMAND_AS_JSON
const { randomUUID } = require("crypto");
const amqp = require("amqplib");

async function main([broker, command]) {
  const connection = await amqp.connect(broker);
  const channel = await connection.createConfirmChannel();
  const body = JSON.stringify([[], { command: JSON.parse(command) }, {}]);
  channel.publish("", "device-status.routine", Buffer.from(body), {
    contentType: "application/json",
    contentEncoding: "utf-8",
    persistent: true,
    headers: { lang: "js", task: "device_status.apply", id: randomUUID() },
  });
  await channel.waitForConfirms();
  await connection.close();
}

main(process.argv.slice(2));
