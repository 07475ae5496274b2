#!/usr/bin/python3
"""Prints each notification that oslo.messaging's own listener hears, as a line of JSON: listen.py TRANSPORT_URL."""
import json
import sys

from oslo_config import cfg
import oslo_messaging


class Endpoint(object):
    def info(self, ctxt, publisher_id, event_type, payload, metadata):
        if event_type == 'probe':
            print('"listening"', flush=True)
            return oslo_messaging.NotificationResult.HANDLED
        print(json.dumps({'publisher': publisher_id, 'event': event_type, 'payload': payload,
                          'id': metadata['message_id']}), flush=True)
        return oslo_messaging.NotificationResult.HANDLED


conf = cfg.ConfigOpts()
conf([])
transport = oslo_messaging.get_notification_transport(conf, url=sys.argv[1])
server = oslo_messaging.get_notification_listener(
    transport, [oslo_messaging.Target(topic='notifications', exchange='openstack')], [Endpoint()], executor='threading', pool='clonecache-test')
server.start()
notifier = oslo_messaging.Notifier(transport, publisher_id='probe', driver='messagingv2', topics=['notifications'])
notifier.info({}, 'probe', {})  # heard, it says that the listener is at work
server.wait()
