mod evil_endpoints;
