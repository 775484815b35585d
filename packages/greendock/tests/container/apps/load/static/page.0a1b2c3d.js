page();
