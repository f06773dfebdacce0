mod slow_clients;
