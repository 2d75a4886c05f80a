"""Sends each message to all clients, and tells them who came."""
from websocket_server import WebsocketServer

server = WebsocketServer(host="127.0.0.1", port=0)


def came(client, server):
    if client["id"] > 1:
        server.send_message(server.clients[0], f"a client came: {client['id']}")


server.set_fn_new_client(came)
server.set_fn_message_received(lambda client, server, message: server.send_message_to_all(message))
server.run_forever()
