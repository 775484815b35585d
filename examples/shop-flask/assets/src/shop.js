const state = document.querySelector("#state");

async function show() {
  const { placed, shipped } = await (await fetch("/orders")).json();
  state.textContent = `${placed} orders, ${shipped} shipped`;
}

for (const button of document.querySelectorAll("[data-product]")) {
  button.addEventListener("click", async () => {
    await fetch("/orders", { method: "POST", body: new URLSearchParams({ product: button.dataset.product }) });
    await show();
  });
}
await show();
setInterval(show, 2000);
