// Shows the document that lies beside this page. Addresses are relative, so that the page works wherever it is mounted.
"use strict";

(async () => {
  const address = new URL("openapi.json", window.location.href);
  const answer = await fetch(address);
  const page = document.getElementById("page");
  if (!answer.ok) {
    page.textContent = "The document cannot be read: " + answer.status;
    return;
  }
  const documentation = await answer.json();
  // Calls go to where this page came from, also where a proxy has taken a part of the path away.
  documentation.servers = [{ url: address.pathname.replace(/\/api\/openapi\.json$/, "") || "/" }];
  document.title = documentation.info.title + " API";
  window.SwaggerUIBundle({
    spec: documentation,
    domNode: page,
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    persistAuthorization: false, // a key is never kept in the browser
    tryItOutEnabled: true,
    validatorUrl: null, // nothing is sent elsewhere
  });
})();
